CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}';
GRANT SELECT, INSERT, UPDATE, DELETE ON notes.* TO '{{name}}'@'%';
