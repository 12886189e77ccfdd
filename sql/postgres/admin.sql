-- What Vault's own account may do on this server, run once by the superuser right after the bare
-- account was created. {{name}} is that account.

-- Make and drop accounts, without being a superuser.
ALTER ROLE "{{name}}" CREATEROLE;

-- End the sessions of an account that is being revoked.
GRANT pg_signal_backend TO "{{name}}";
