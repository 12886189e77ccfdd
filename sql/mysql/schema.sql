-- Schema of the notes application, run once by root in the database `notes`.

CREATE TABLE authors (
    id    BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name  VARCHAR(100) NOT NULL UNIQUE
);

CREATE TABLE notes (
    id          BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    author_id   BIGINT       NOT NULL,
    title       VARCHAR(200) NOT NULL,
    body        TEXT         NOT NULL,
    created_at  TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (author_id) REFERENCES authors (id)
);

-- DROP USER leaves the account's sessions open. This ends them: it runs with root's privileges, so
-- that Vault's account needs no power over other sessions, and it touches only accounts that
-- Vault made.
DELIMITER $$
CREATE PROCEDURE end_sessions(IN account VARCHAR(128))
    SQL SECURITY DEFINER
BEGIN
    DECLARE finished BOOLEAN DEFAULT FALSE;
    DECLARE session_id BIGINT UNSIGNED;
    DECLARE sessions CURSOR FOR
        SELECT id FROM information_schema.processlist
        WHERE user = account AND account LIKE 'v-%';
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET finished = TRUE;
    -- 1094: the session has ended by itself.
    DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;

    OPEN sessions;
    FETCH sessions INTO session_id;
    WHILE NOT finished DO
        KILL session_id;
        FETCH sessions INTO session_id;
    END WHILE;
    CLOSE sessions;
END$$
DELIMITER ;

GRANT EXECUTE ON PROCEDURE end_sessions TO 'vault'@'%';
