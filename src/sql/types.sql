-- Types that tables and functions share.

CREATE DOMAIN eb.retention AS smallint NOT NULL;
COMMENT ON DOMAIN eb.retention IS
'Number of a retention class (eb.retention_classes): the LIST partition key of the event log.';

-- Queue tables are typed tables of this type, so a new version changes all of
-- them with ALTER TYPE ... CASCADE.  Fixed-width columns come first: a routed
-- message that waits to be received is 72 bytes.
CREATE TYPE eb.delivery AS (
	message_id			bigint,			-- clock tick taken just before the insert; its time is eb.message_time(message_id)
	visible_at			timestamptz,	-- null: ready; else invisible until then ('infinity': parked behind a FIFO head)
	event_id			uuid,			-- null: sent directly, not by a rule
	event_tid			tid,			-- where the event lies in its leaf of the log
	event_class			smallint,		-- retention class of the event: with the time in event_id it names the leaf
	target_id			integer,		-- the target that made this delivery; null: sent directly
	receive_count		integer,
	lease_pid			integer,		-- backend that holds the lease; null: not leased (ready, delayed, backing off)
	lease_role			oid,			-- role that holds the lease
	first_received_at	timestamptz,
	enqueued_at			timestamptz,	-- null: the time in message_id; set where a message was moved
	original_id			bigint,			-- message id in the queue that it came from (dead letters, redriven)
	group_id			text,			-- FIFO group
	source_queue		text,			-- where a dead letter came from
	last_error			text,
	replay				text,			-- name of the replay that delivered it
	headers				jsonb,			-- of a message sent directly; of a routed one they are in the log
	body				jsonb			-- null: the event's envelope is the body
);
COMMENT ON TYPE eb.delivery IS 'Row of a queue table; consumers see eb.message.';

CREATE TYPE eb.message AS (
	message_id			bigint,
	receipt				text,
	queue				text,
	event_id			uuid,
	body				jsonb,
	headers				jsonb,
	group_id			text,
	enqueued_at			timestamptz,
	receive_count		integer,
	first_received_at	timestamptz,
	correlation_id		text,
	causation_id		text,
	traceparent			text,
	replay				text,
	source_queue		text,
	last_error			text
);
COMMENT ON TYPE eb.message IS
'A message as consumers get it.  receipt settles it (ack, nack, extend) and is null where no lease was taken (consume, peek); event_id, correlation_id, causation_id and traceparent are those of the event, null where there is none; source_queue and last_error are set in dead-letter queues.';

CREATE TYPE eb.event AS (
	id					uuid,
	partition				integer,
	source				text,
	detail_type			text,
	"time"				timestamptz,
	ingested_at			timestamptz,
	resources			text[],
	detail				jsonb,
	headers				jsonb,
	group_key			text,
	correlation_id		text,
	causation_id		text,
	traceparent			text,
	replay				text
);
COMMENT ON TYPE eb.event IS
'An event as it is read from the log.  id is its position: pass the last one that was processed to eb.commit.';
