-- Who may ask. Passwords and tokens themselves are not here.
CREATE TABLE user (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL, -- argon2id as a PHC string: parameters, salt and hash
    is_admin INTEGER NOT NULL
) STRICT;

-- A row with neither right is what REVOKE leaves: 1.x shows it as NO PRIVILEGES.
CREATE TABLE user_grant (
    user_id     INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    database_id INTEGER NOT NULL REFERENCES database (id) ON DELETE CASCADE,
    can_read    INTEGER NOT NULL,
    can_write   INTEGER NOT NULL,
    PRIMARY KEY (user_id, database_id)
) STRICT;

CREATE TABLE token (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE,
    digest       BLOB NOT NULL UNIQUE, -- SHA-256; a token is random and long, so that it needs no salt
    is_admin     INTEGER NOT NULL,
    can_read     INTEGER NOT NULL, -- every database
    can_write    INTEGER NOT NULL,
    created_at_s INTEGER NOT NULL,
    expires_at_s INTEGER -- NULL: never
) STRICT;

CREATE TABLE token_grant (
    token_id    INTEGER NOT NULL REFERENCES token (id) ON DELETE CASCADE,
    database_id INTEGER NOT NULL REFERENCES database (id) ON DELETE CASCADE,
    can_read    INTEGER NOT NULL,
    can_write   INTEGER NOT NULL,
    PRIMARY KEY (token_id, database_id)
) STRICT;
