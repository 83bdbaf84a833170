-- The first form of the history. One statement a `;`, all of a file in one transaction.

-- What every commit appends to, and nothing else: transitions as their JSON text, and the latest state
-- of the units and the board that they changed. One narrow table makes a commit four times as fast as
-- writing columns at once; the writer folds it into the tables below when it is idle or long.
create table journal (
    seq bigint not null,
    kind varchar not null,      -- transition, unit, board
    text varchar not null,
    id varchar,                 -- of a unit, like the rest
    chunk varchar,
    attempt integer,
    status varchar,
    live boolean
);

-- Every accepted command, append-only: who, why, from, to, what changed. The view `transitions` is this
-- and the journal. The only record; questions, runs, reviews, landings and usage are views of it.
create table transition_log (
    seq bigint primary key,
    epoch varchar not null,
    occurred_at timestamp not null,
    command varchar not null,
    actor varchar not null,
    why varchar,
    from_status varchar,
    detail varchar,
    idempotency_key varchar,
    key_hash varchar,
    unit_id varchar,
    chunk varchar,
    attempt integer,
    phase varchar,
    status varchar,
    blocked_by varchar,
    priority integer,
    paused boolean,
    worktree varchar,
    branch varchar,
    base_ref varchar,
    base_commit varchar,
    session_id varchar,
    run_id varchar,
    slot integer,
    created_at timestamp,
    changed_at timestamp,
    stage varchar,
    stopping boolean,
    retry_at timestamp,
    merged_commit varchar,
    questions varchar,
    options varchar,
    evidence varchar,
    resume_at varchar,
    approve_hash varchar,
    cause varchar,
    board varchar
);

-- The latest state of each unit, for a start. The view `units` is this and the journal.
create table unit_state (
    id varchar primary key,
    chunk varchar not null,
    attempt integer not null,
    status varchar not null,
    live boolean not null,
    seq bigint not null,
    state varchar not null
);

-- The board's latest state, one row.
create table board_state (seq bigint not null, state varchar);
insert into board_state values (0, null);

-- One row a start of the daemon: a cursor is `epoch.seq`.
create table epochs (
    epoch varchar primary key,
    first_seq bigint not null,
    started_at timestamp not null,
    version varchar not null
);

-- The digest of the text that the views were made from; other text makes them again.
create table schema_views (digest varchar not null);
