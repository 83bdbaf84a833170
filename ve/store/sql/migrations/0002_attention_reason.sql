-- Why a unit needs a person, in columns of its own, so that it can be counted and searched.
alter table transition_log add column attention_kind varchar;
alter table transition_log add column attention_reason varchar;
