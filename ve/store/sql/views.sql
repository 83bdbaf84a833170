-- The views: every question is answered from `transitions`, so no answer can disagree with the log.
-- Times are UTC. Durations are seconds (double). A state that still lasts counts up to now.

-- ── What is ────────────────────────────────────────────────────────────────────────────────────────

-- transitions: every accepted command, one row each; made from the list in columns.py.

-- units: the latest state of each unit as a start restores it; `state` is JSON of ve's own form.
create or replace view units as
select id, arg_max(chunk, seq) as chunk, arg_max(attempt, seq) as attempt, arg_max(status, seq) as status,
    arg_max(live, seq) as live, max(seq) as seq, arg_max(state, seq) as state
from (
    select id, chunk, attempt, status, live, seq, state from unit_state
    union all
    select id, chunk, attempt, status, live, seq, text from journal where kind = 'unit'
) group by id;

-- board: the board's latest state, as JSON of ve's own form.
create or replace view board as
select max(seq) as seq, arg_max(state, seq) as state from (
    select seq, state from board_state
    union all
    select seq, text from journal where kind = 'board'
);

-- board_at(t): every unit as it was at time t (UTC; RFC 3339 text or a timestamp), the flat view.
create or replace macro board_at(t) as table
select unit_id as id, chunk, attempt, phase, status, attention_kind, attention_reason,
    blocked_by, priority, paused, worktree, branch, base_ref, base_commit, session_id, run_id, slot,
    created_at, changed_at, seq, stage, stopping, retry_at, merged_commit
from transitions
where unit_id is not null and occurred_at <= t::timestamp
qualify row_number() over (partition by unit_id order by seq desc) = 1;

-- work_units: every unit as it is, the flat view.
create or replace view work_units as select * from board_at('infinity');

-- status_spans: one row for each stretch a unit spent in one status, phase and attempt.
-- `until` is null while it lasts; `seconds` then counts up to now. Ended units have no last stretch.
create or replace view status_spans as
with changes as (
    select unit_id, chunk, attempt, phase, status, attention_kind, attention_reason, actor, seq, occurred_at,
        lag(status) over unit as status_before, lag(phase) over unit as phase_before,
        lag(attempt) over unit as attempt_before, lag(attention_kind) over unit as kind_before
    from transitions where unit_id is not null
    window unit as (partition by unit_id order by seq)
), spans as (
    select *, lead(occurred_at) over unit as "until", lead(actor) over unit as ended_by
    from changes
    where status is distinct from status_before or phase is distinct from phase_before
        or attempt is distinct from attempt_before or attention_kind is distinct from kind_before
    window unit as (partition by unit_id order by seq)
)
select unit_id, chunk, attempt, phase, status, attention_kind, attention_reason, seq,
    occurred_at as since, "until", ended_by,
    date_diff('microsecond', occurred_at, coalesce("until", now() at time zone 'UTC')) / 1e6 as seconds
from spans where status not in ('DONE', 'CANCELLED');

-- ── How long ───────────────────────────────────────────────────────────────────────────────────────

-- lead_time: of each ended unit, `seconds` from inject to its end, and to its first run (`queue_seconds`).
create or replace view lead_time as
with ends as (
    select unit_id, chunk, max(attempt) as attempts, arg_max(status, seq) as status,
        min(occurred_at) as injected_at,
        min(occurred_at) filter (where command = 'Dispatch') as first_run_at,
        min(occurred_at) filter (where status in ('DONE', 'CANCELLED')) as ended_at
    from transitions where unit_id is not null group by unit_id, chunk
)
select *, date_diff('microsecond', injected_at, ended_at) / 1e6 as seconds,
    date_diff('microsecond', injected_at, first_run_at) / 1e6 as queue_seconds
from ends where status in ('DONE', 'CANCELLED') order by ended_at;

-- cycle_time: of each unit and phase, `seconds` between entering and leaving, over all visits; of these
-- `running_seconds` with a run or git at work and `waiting_seconds` in the queue or for a person.
create or replace view cycle_time as
select unit_id, chunk, phase, sum(seconds) as seconds,
    coalesce(sum(seconds) filter (where status = 'RUNNING'), 0) as running_seconds,
    coalesce(sum(seconds) filter (where status <> 'RUNNING'), 0) as waiting_seconds,
    min(since) as first_entered_at, bool_or("until" is null) as current
from status_spans group by unit_id, chunk, phase order by first_entered_at, unit_id;

-- time_in_status: of each unit and status, `seconds` over all `visits`; `current` while it is in it.
create or replace view time_in_status as
select unit_id, chunk, status, sum(seconds) as seconds, count(*) as visits,
    bool_or("until" is null) as current
from status_spans group by unit_id, chunk, status order by unit_id, status;

-- attention_wait: each time a unit needed a person: kind, reason, `seconds` until someone acted
-- (`ended_by`, null while it waits).
create or replace view attention_wait as
select unit_id, chunk, attempt, phase, attention_kind as kind, attention_reason as reason,
    since, "until", ended_by, seconds
from status_spans where status = 'NEEDS_ATTENTION' order by since, seq;

-- throughput: of each day (UTC), how many units were injected, merged and cancelled.
create or replace view throughput as
with firsts as (
    select unit_id, min(occurred_at) as injected_at,
        min(occurred_at) filter (where status = 'DONE') as merged_at,
        min(occurred_at) filter (where status = 'CANCELLED') as cancelled_at
    from transitions where unit_id is not null group by unit_id
), events as (
    select injected_at::date as day, 'injected' as what from firsts
    union all select merged_at::date, 'merged' from firsts where merged_at is not null
    union all select cancelled_at::date, 'cancelled' from firsts where cancelled_at is not null
)
select day, count(*) filter (where what = 'injected') as injected,
    count(*) filter (where what = 'merged') as merged,
    count(*) filter (where what = 'cancelled') as cancelled
from events group by day order by day;

-- rework: of each unit, what was done again: attempts, runs, retries by hand or by itself, review
-- rounds sent back (`feedback`), conflicts met, times the base moved under its landing.
create or replace view rework as
select unit_id, any_value(chunk) as chunk, max(attempt) as attempts,
    count(*) filter (where command = 'Dispatch') as runs,
    count(*) filter (where command = 'Retry') as retries,
    count(*) filter (where command = 'ReviewDecided' and json_extract_string(detail, '$.decision.decision') = 'feedback')
        as feedback,
    count(*) filter (where command in ('RebaseConflict', 'ConflictFound')) as conflicts,
    count(*) filter (where command = 'BaseChanged') as base_moves
from transitions where unit_id is not null group by unit_id order by unit_id;

-- ── Runs ───────────────────────────────────────────────────────────────────────────────────────────

-- runs: one row a run. Times null where that moment never came. `exit`: clean, failed, limited, lost,
-- stalled. Tokens are counts, `cost_usd` US dollars, `estimated` where the agent did not say itself.
create or replace view runs as
select json_extract_string(detail, '$.run') as run_id,
    any_value(unit_id) as unit_id, any_value(chunk) as chunk, min(attempt) as attempt,
    coalesce(min_by(phase, seq) filter (where command = 'Dispatch'), min_by(phase, seq)) as phase,
    any_value(try_cast(json_extract_string(detail, '$.slot') as integer)) filter (where command = 'Dispatch') as slot,
    any_value(json_extract_string(detail, '$.backend')) filter (where command = 'Dispatch') as backend,
    min(occurred_at) filter (where command = 'Dispatch') as dispatched_at,
    min(occurred_at) filter (where command = 'RunStarted') as started_at,
    min(coalesce(try_cast(json_extract_string(detail, '$.ended_at') as timestamp), occurred_at))
        filter (where command = 'RunEnded') as ended_at,
    any_value(json_extract_string(detail, '$.exit.type')) filter (where command = 'RunEnded') as "exit",
    any_value(json_extract_string(detail, '$.exit.kind')) filter (where command = 'RunEnded') as exit_kind,
    any_value(json_extract_string(detail, '$.exit.reason')) filter (where command = 'RunEnded') as exit_reason,
    max(try_cast(json_extract_string(detail, '$.usage.input_tokens') as bigint)) as input_tokens,
    max(try_cast(json_extract_string(detail, '$.usage.output_tokens') as bigint)) as output_tokens,
    max(try_cast(json_extract_string(detail, '$.usage.cached_tokens') as bigint)) as cached_tokens,
    max(try_cast(json_extract_string(detail, '$.usage.cost_usd') as double)) as cost_usd,
    bool_or(try_cast(json_extract_string(detail, '$.usage.estimated') as boolean)) as estimated
from transitions
where command in ('Dispatch', 'RunStarted', 'RunEnded') and json_extract_string(detail, '$.run') is not null
group by 1;

-- run_list: the runs, newest first, with `seconds` from dispatch to end (to now while it lives).
create or replace view run_list as
select *, date_diff('microsecond', coalesce(started_at, dispatched_at),
    coalesce(ended_at, now() at time zone 'UTC')) / 1e6 as seconds
from runs order by coalesce(dispatched_at, started_at, ended_at) desc, run_id;

-- usage: what each ended run consumed.
create or replace view usage as
select run_id, unit_id, chunk, attempt, phase, backend, ended_at,
    input_tokens, output_tokens, cached_tokens, cost_usd, estimated
from runs where input_tokens is not null or output_tokens is not null or cost_usd is not null;

-- cost_per_merged_unit: what each merged unit consumed over all its runs; `cost_usd` null where no
-- agent said a price, `estimated` where a part of it is.
create or replace view cost_per_merged_unit as
select l.unit_id, l.chunk, l.ended_at as merged_at, count(u.run_id) as runs,
    sum(u.input_tokens)::bigint as input_tokens, sum(u.output_tokens)::bigint as output_tokens,
    sum(u.cached_tokens)::bigint as cached_tokens, sum(u.cost_usd) as cost_usd,
    coalesce(bool_or(u.estimated), false) as estimated
from lead_time l left join usage u using (unit_id)
where l.status = 'DONE' group by l.unit_id, l.chunk, l.ended_at order by merged_at;

-- slot_use: of each hour (UTC) with a run and each slot, `busy_seconds` of that hour and `share` (0 to 1).
create or replace view slot_use as
with spans as (
    select slot, dispatched_at as since, coalesce(ended_at, now() at time zone 'UTC') as "until"
    from runs where slot is not null and dispatched_at is not null
), hours as (
    select slot, since, "until",
        unnest(generate_series(date_trunc('hour', since), date_trunc('hour', greatest(since, "until")),
            interval 1 hour)) as hour
    from spans
)
select hour, slot,
    sum(date_diff('microsecond', greatest(since, hour), least("until", hour + interval 1 hour))) / 1e6
        as busy_seconds,
    sum(date_diff('microsecond', greatest(since, hour), least("until", hour + interval 1 hour))) / 3.6e9
        as share
from hours group by hour, slot order by hour, slot;

-- ── Questions, reviews, landings ───────────────────────────────────────────────────────────────────

-- questions: every question of an agent. `state` (open, answered, delivered, withdrawn) and the answer
-- are those that the unit itself shows last; `seconds` is how long the answer took.
create or replace view questions as
with asked as (
    select unit_id, any_value(chunk) as chunk, question.id as question_id,
        min_by(run, seq) as run_id, min_by(question.text, seq) as text,
        min_by(question.options, seq) as options, min_by(question.context, seq) as context,
        min(occurred_at) as asked_at, min(seq) as asked_seq
    from (
        select unit_id, chunk, seq, occurred_at, json_extract_string(detail, '$.run') as run,
            unnest(from_json(json_extract(detail, '$.questions'),
                '[{"id": "VARCHAR", "text": "VARCHAR", "options": "JSON", "context": "VARCHAR"}]')) as question
        from transitions where command = 'Ask' and json_extract(detail, '$.questions') is not null
    ) group by unit_id, question.id
), latest as (
    select unit_id, unnest(from_json(questions, '[{"id": "VARCHAR", "state": "VARCHAR", "answer": "VARCHAR",
        "answered_by": "VARCHAR", "answered_at": "TIMESTAMP"}]')) as shown
    from (
        select unit_id, arg_max(questions, seq) as questions from transitions
        where unit_id is not null and questions is not null and questions <> '[]' group by unit_id
    )
), answers as (
    select unit_id, json_extract_string(detail, '$.question') as question_id,
        arg_max(json_extract_string(detail, '$.text'), seq) as answer, arg_max(actor, seq) as answered_by,
        max(occurred_at) as answered_at
    from transitions where command = 'Answer' group by unit_id, question_id
)
select asked.*, coalesce(shown.answer, answers.answer) as answer,
    coalesce(shown.answered_by, answers.answered_by) as answered_by,
    coalesce(shown.answered_at, answers.answered_at) as answered_at,
    coalesce(shown.state, case when answers.answered_at is null then 'open' else 'answered' end) as state,
    date_diff('microsecond', asked_at, coalesce(shown.answered_at, answers.answered_at)) / 1e6 as seconds
from asked
left join latest on latest.unit_id = asked.unit_id and latest.shown.id = asked.question_id
left join answers on answers.unit_id = asked.unit_id and answers.question_id = asked.question_id
order by asked_seq, question_id;

-- reviews: every decision of a reviewer (approve, feedback, escalate), with its issues as JSON.
create or replace view reviews as
select seq, unit_id, chunk, attempt, json_extract_string(detail, '$.run') as run_id, occurred_at as decided_at,
    json_extract_string(detail, '$.decision.decision') as decision, json_extract_string(detail, '$.decision.reason') as reason,
    coalesce(json_array_length(json_extract(detail, '$.decision.issues')), 0)::integer as issue_count,
    (json_extract(detail, '$.decision.issues'))::varchar as issues
from transitions where command = 'ReviewDecided' order by seq;

-- landing_steps: every recorded step of a landing (committed, integrated, checked, swapping,
-- base_moved, checkout_updated, landed), with the step's own fields as JSON.
create or replace view landing_steps as
select seq, unit_id, chunk, attempt, occurred_at as recorded_at,
    case when command = 'Landed' then 'landed' else json_extract_string(detail, '$.step.type') end as step,
    case when command = 'Landed' then detail else (json_extract(detail, '$.step'))::varchar end as detail
from transitions where command in ('LandingStep', 'Landed') order by seq;

-- landings: one row an attempt that began to land: `seconds` from its first step until it stood in the
-- base, `merged_commit` (null if it did not), and how often the base moved meanwhile.
create or replace view landings as
select unit_id, any_value(chunk) as chunk, attempt, min(occurred_at) as began_at,
    min(occurred_at) filter (where command = 'Landed') as landed_at,
    any_value(json_extract_string(detail, '$.commit')) filter (where command = 'Landed') as merged_commit,
    arg_max(json_extract_string(detail, '$.step.type'), seq) filter (where command = 'LandingStep') as last_step,
    count(*) filter (where command = 'BaseChanged') as base_moves,
    date_diff('microsecond', min(occurred_at), min(occurred_at) filter (where command = 'Landed')) / 1e6
        as seconds
from transitions where command in ('LandingStep', 'Landed', 'BaseChanged')
group by unit_id, attempt order by began_at;

-- conflicts: every conflict that was met, at a rebase (`RebaseConflict`: an agent resolves it) or for a
-- person (`ConflictFound`), with the files as JSON.
create or replace view conflicts as
select seq, unit_id, chunk, attempt, command, occurred_at as found_at,
    (json_extract(detail, '$.files'))::varchar as files
from transitions where command in ('RebaseConflict', 'ConflictFound') order by seq;
