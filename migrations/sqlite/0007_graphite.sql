-- What graphite-web keeps beside series: events, dashboards with their templates, short links.
CREATE TABLE event (
    id      INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice; the oldest go first
    time_us INTEGER NOT NULL,
    what    TEXT NOT NULL,
    tags    TEXT NOT NULL, -- as written
    data    TEXT NOT NULL
) STRICT;
CREATE INDEX event_time ON event (time_us, id);

-- The words of event.tags, which queries look for.
CREATE TABLE event_tag (
    tag      TEXT NOT NULL,
    event_id INTEGER NOT NULL REFERENCES event (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_tag_event ON event_tag (event_id);

CREATE TABLE dashboard (
    kind    INTEGER NOT NULL, -- 0: dashboard, 1: template, 2: temporary dashboard
    name    TEXT NOT NULL,
    saved_s INTEGER NOT NULL,
    bytes   INTEGER NOT NULL, -- of state
    state   TEXT NOT NULL, -- JSON
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE short_link (
    id  INTEGER PRIMARY KEY AUTOINCREMENT, -- its letters are the link
    url TEXT NOT NULL UNIQUE
) STRICT;
