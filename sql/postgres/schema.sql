-- Schema and privileges of the notes application, run once by the superuser in the database `notes`.

CREATE TABLE authors (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text   NOT NULL UNIQUE
);

CREATE TABLE notes (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    author_id   bigint      NOT NULL REFERENCES authors (id),
    title       text        NOT NULL,
    body        text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX notes_author_id ON notes (author_id);

-- Accounts come and go; what they may do is fixed on two groups.
CREATE ROLE notes_reader NOLOGIN;
CREATE ROLE notes_writer NOLOGIN;

-- Nobody else gets in. (Before PostgreSQL 15 everyone may also create tables in `public`.)
REVOKE ALL ON DATABASE notes FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

GRANT CONNECT ON DATABASE notes TO notes_reader, notes_writer;
GRANT USAGE ON SCHEMA public TO notes_reader, notes_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO notes_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO notes_writer;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO notes_writer;

-- The same for tables that a later migration adds.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO notes_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO notes_writer;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO notes_writer;

-- Vault puts new accounts into these groups. PostgreSQL 16 and later allow that only to a role
-- with the admin option on the group.
GRANT CONNECT ON DATABASE notes TO vault;
GRANT notes_reader, notes_writer TO vault WITH ADMIN OPTION;
