-- What Vault's own account may do on this server, run once by root right after the bare account
-- was created. {{name}} is that account, {{database}} the application's database.

-- Make and drop accounts.
GRANT CREATE USER ON *.* TO '{{name}}'@'%';

-- Hand on exactly what the application's accounts need, and nothing on any other database.
GRANT SELECT, INSERT, UPDATE, DELETE ON `{{database}}`.* TO '{{name}}'@'%' WITH GRANT OPTION;
