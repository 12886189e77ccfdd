-- Removes an account, then ends the sessions it still has: in this order no new one can start in
-- between. Running it again does no harm.
DROP USER IF EXISTS '{{name}}'@'%';
CALL notes.end_sessions('{{name}}');
