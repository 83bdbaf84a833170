-- The statements of the store, each with a name and a sentence.

-- name: restore_units
-- The states of live units. Reads `unit_state` and the journal alone, so a start costs the same
-- whatever the history holds.
select arg_max(state, seq) from (
    select id, live, seq, state from unit_state where live
    union all
    select id, live, seq, text from journal where kind = 'unit'
) group by id having arg_max(live, seq) order by max(seq);

-- name: restore_chunks
-- Of each chunk: the highest attempt, whether its latest ended unit was merged, whether one is live.
select chunk, max(attempt),
    coalesce(arg_max(status, attempt) filter (where status in ('DONE', 'CANCELLED')) = 'DONE', false),
    bool_or(status not in ('DONE', 'CANCELLED'))
from (
    select id, arg_max(chunk, seq) as chunk, arg_max(attempt, seq) as attempt, arg_max(status, seq) as status
    from (
        select id, chunk, attempt, status, seq from unit_state
        union all
        select id, chunk, attempt, status, seq from journal where kind = 'unit'
    ) group by id
) group by chunk order by chunk;

-- name: restore_board
-- The board's latest state, null before the first change.
select arg_max(state, seq) from (
    select seq, state from board_state
    union all
    select seq, text from journal where kind = 'board'
);

-- name: last_seq
-- The highest seq that is durable, 0 in an empty history.
select greatest(
    coalesce((select max(seq) from transition_log), 0),
    coalesce((select max(seq) from journal where kind = 'transition'), 0));

-- name: journal_start
-- The first transition that is not folded yet.
select min(seq) from journal where kind = 'transition';

-- name: begin_epoch
-- A start of the daemon; its first transition will have this seq.
insert into epochs values (?, ?, ?, ?);

-- name: epoch_end
-- The last durable seq of an epoch: up to the first of the next one, or the last of all ($2).
select coalesce((select min(n.first_seq) - 1 from epochs n where n.rowid > e.rowid), $2)
from epochs e where e.epoch = $1;

-- name: find_key
-- What was done under an idempotency key ($1; $2 is its JSON). A group (several units by one command)
-- shares one. The journal's texts are searched before they are parsed.
select key_hash, seq, unit_id from transition_log where idempotency_key = $1
union all
select json_extract_string(text, '$.key_hash'), seq, json_extract_string(text, '$.unit.id') from journal
where kind = 'transition' and contains(text, $2) and json_extract_string(text, '$.key') = $1
order by seq;

-- name: find_unit
-- The latest state of a unit by its id ($2, or $1), else of the chunk's ($1) newest attempt.
select state from units where id = $2 or ($2 is null and (chunk = $1 or id = $1))
order by attempt desc, seq desc limit 1;

-- name: fold_units
-- The latest row of each unit up to a seq into `unit_state`; an older row never wins over a newer one.
insert into unit_state
select id, arg_max(chunk, seq), arg_max(attempt, seq), arg_max(status, seq), arg_max(live, seq),
    max(seq), arg_max(text, seq)
from journal where kind = 'unit' and seq <= $1 group by id
on conflict (id) do update set chunk = excluded.chunk, attempt = excluded.attempt,
    status = excluded.status, live = excluded.live, seq = excluded.seq, state = excluded.state
where excluded.seq > unit_state.seq;

-- name: fold_board
-- The latest board up to a seq.
update board_state set seq = latest.seq, state = latest.state
from (select max(seq) as seq, arg_max(text, seq) as state from journal where kind = 'board' and seq <= $1) latest
where latest.seq > board_state.seq;

-- name: empty_journal
-- What was folded, in the same transaction.
delete from journal where seq <= $1;
