-- The tables as all migrations leave them; a test compares the two. Views are in views.sql.

create table journal (
    seq bigint not null,
    kind varchar not null,
    text varchar not null,
    id varchar,
    chunk varchar,
    attempt integer,
    status varchar,
    live boolean
);

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
    board varchar,
    attention_kind varchar,
    attention_reason varchar
);

create table unit_state (
    id varchar primary key,
    chunk varchar not null,
    attempt integer not null,
    status varchar not null,
    live boolean not null,
    seq bigint not null,
    state varchar not null
);

create table board_state (
    seq bigint not null,
    state varchar
);

create table epochs (
    epoch varchar primary key,
    first_seq bigint not null,
    started_at timestamp not null,
    version varchar not null
);

create table schema_views (
    digest varchar not null
);

create table schema_migrations (
    number integer primary key,
    name varchar not null,
    applied_at timestamp not null
);
