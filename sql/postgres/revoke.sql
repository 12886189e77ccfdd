-- Removes an account and everything that would stop its removal. Running it again does no harm.
-- Vault runs the whole text as one statement because it contains the word END between spaces.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{{name}}') THEN
        -- Dropping a role leaves its sessions open, so they are ended first, and waited for:
        -- what they own (temporary tables) goes with them.
        PERFORM pg_catalog.pg_terminate_backend(pid, 5000)
        FROM pg_catalog.pg_stat_activity
        WHERE usename = '{{name}}';

        -- Touching what the account owns takes membership in it.
        GRANT "{{name}}" TO CURRENT_USER;
        REASSIGN OWNED BY "{{name}}" TO notes_writer;
        DROP OWNED BY "{{name}}";
        DROP ROLE "{{name}}";
    END IF;
 END $$;
