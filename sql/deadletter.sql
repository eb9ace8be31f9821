-- Dead letters: what fails too often moves to the dead-letter queue, and back by redrive.
SELECT eb.create_queue('parcels', max_receive_count => 2, min_redelivery_delay => '0', backoff_base => '0',
	backoff_cap => '0');

-- A message that fails for the last time moves at once, with its error.
SELECT eb.send('parcels', '{"detail-type": "parcel", "detail": {"to": "Rome"}}', headers => '{"tenant": "acme"}') AS sent \gset
SELECT receipt FROM eb.receive('parcels') \gset
SELECT eb.nack('parcels', :'receipt', 'address unknown');
SELECT state, receive_count, last_error FROM eb.queue_parcels;
SELECT receipt, last_error FROM eb.receive('parcels') \gset
SELECT eb.nack('parcels', :'receipt', 'still unknown');
SELECT count(*) FROM eb.queue_parcels;

-- The letter is whole: body, headers, error, where it came from, which message
-- it was and since when it has waited.
SELECT state, receive_count, body, headers, source_queue, last_error, original_id = :sent AS same_message,
	enqueued_at = eb.message_time(:sent) AS since_then
FROM eb.queue_parcels_dlq;
SELECT queue, source_queue, last_error, receive_count FROM eb.peek('parcels_dlq');

-- One whose leases run out without a word moves when it would be received once more.
SELECT eb.send('parcels', '"silent"') > 0 AS sent;
SELECT receive_count FROM eb.receive('parcels', visibility_timeout => '1 ms');
SELECT pg_sleep(0.01);
SELECT receive_count FROM eb.receive('parcels', visibility_timeout => '1 ms');
SELECT pg_sleep(0.01);
SELECT receive_count FROM eb.receive('parcels');
SELECT body, last_error FROM eb.queue_parcels_dlq ORDER BY message_id;

-- Rolled back, nothing has moved.
SELECT eb.send('parcels', '"undecided"') > 0 AS sent;
SELECT receipt FROM eb.receive('parcels') \gset
SELECT eb.nack('parcels', :'receipt');
SELECT receipt FROM eb.receive('parcels') \gset
BEGIN;
SELECT eb.nack('parcels', :'receipt', 'no');
SELECT count(*) FROM eb.queue_parcels_dlq;
ROLLBACK;
SELECT state FROM eb.queue_parcels;
SELECT count(*) FROM eb.queue_parcels_dlq;
SELECT eb.nack('parcels', :'receipt', 'yes');
SELECT eb.nack('parcels', :'receipt', 'twice');
SELECT count(*) FROM eb.queue_parcels_dlq;

-- Redrive: back to the queue that each came from.  A pattern chooses, as it
-- would in a rule.
SELECT eb.redrive('parcels_dlq', pattern => '{"detail": {"to": ["Paris"]}}');
SELECT eb.redrive('parcels_dlq', pattern => '{"detail": {"to": ["Rome"]}}');
SELECT state, receive_count, body, headers, source_queue, last_error, original_id <> :sent AS new_id,
	enqueued_at = eb.message_time(:sent) AS since_then
FROM eb.queue_parcels;

-- The oldest first, up to a number.
SELECT eb.redrive('parcels_dlq', max_messages => 1);
SELECT body FROM eb.queue_parcels ORDER BY message_id;
SELECT body FROM eb.queue_parcels_dlq ORDER BY message_id;

-- What somebody has in hand stays.
SELECT receipt FROM eb.receive('parcels_dlq') \gset
SELECT eb.redrive('parcels_dlq');
SELECT eb.nack('parcels_dlq', :'receipt', delay => '0');
SELECT eb.redrive('parcels_dlq');

-- The count begins anew.
SELECT receive_count, body, receipt FROM eb.receive('parcels', 10) WHERE body = '"undecided"' \gset
SELECT :'receive_count' AS receive_count, eb.nack('parcels', :'receipt', 'again');
SELECT body, last_error FROM eb.queue_parcels WHERE last_error IS NOT NULL;

-- To another queue; a FIFO queue gets the letters back with their groups, and
-- its deduplication does not hold them up.
SELECT eb.create_queue('belt', fifo => true, max_receive_count => 1, content_dedup => true);
SELECT eb.send('belt', to_jsonb(i), group_id => CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END) > 0 AS sent
FROM generate_series(1, 6) i;
SELECT n.result FROM eb.receive('belt', 10) r, eb.nack('belt', ARRAY[r.receipt], 'jammed') n;
SELECT n.result FROM eb.receive('belt', 10) r, eb.nack('belt', ARRAY[r.receipt], 'jammed') n;
SELECT body, group_id, state, last_error FROM eb.queue_belt_dlq ORDER BY message_id;
SELECT body, group_id, state FROM eb.queue_belt ORDER BY message_id;
SELECT eb.redrive('belt_dlq');
SELECT body, group_id, state FROM eb.queue_belt ORDER BY message_id;

-- A routed message has its event as its body; its letter holds that whole, and
-- what is known of its cause.
SELECT eb.create_bus('post');
SELECT eb.create_queue('routed', max_receive_count => 1);
SELECT eb.put_rule('all', '{"source": ["office"]}', bus => 'post');
SELECT eb.put_target('all', 'queue', queue => 'routed', bus => 'post');
SELECT eb.put_event('office', 'Letter', '{"to": "Oslo"}', bus => 'post', headers => '{"tenant": "acme"}',
	correlation_id => 'c-1', "time" => '2026-01-01 00:00:00+00') AS event \gset
SELECT state, body - 'id' AS body, body ->> 'id' = :'event' AS same_event, event_id = :'event' AS same_id, headers FROM eb.queue_routed;
SELECT n.result FROM eb.receive('routed') r, eb.nack('routed', ARRAY[r.receipt], 'no stamp') n;
SELECT body - 'id' AS body, event_id = :'event' AS same_id, headers, correlation_id, last_error FROM eb.peek('routed_dlq');

-- What a consumer has got is whole, too, whatever becomes of the queue's table.
SELECT eb.put_event('office', 'Letter', '{"to": "Bergen"}', bus => 'post',
	headers => jsonb_build_object('stamp', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i))) > '00000000-0000-0000-0000-000000000000' AS put;
SELECT n.result FROM eb.receive('routed') r, eb.nack('routed', ARRAY[r.receipt], 'no stamp') n;
BEGIN;
DECLARE letters CURSOR FOR SELECT body -> 'detail' AS detail, length(headers::text) AS headers FROM eb.consume('routed_dlq', 2);
FETCH letters;
TRUNCATE eb.q_routed_dlq;
FETCH letters;
ROLLBACK;
SELECT eb.redrive('routed_dlq', pattern => '{"detail": {"to": ["Bergen"]}}');
SELECT body -> 'detail' AS detail FROM eb.consume('routed');
DELETE FROM eb.events WHERE id <> :'event';

-- Even if the event has left the log.
SELECT count(*) FROM eb.bus_post;
DELETE FROM eb.events WHERE id = :'event';
SELECT body -> 'detail' AS detail, headers, correlation_id FROM eb.peek('routed_dlq');
SELECT eb.redrive('routed_dlq', pattern => '{"source": ["office"], "detail": {"to": ["Oslo"]}}');
SELECT body -> 'detail' AS detail, headers, correlation_id, receive_count FROM eb.peek('routed');

-- A message that still waits in its queue when its event is erased says so.
SELECT eb.purge('routed');
SELECT eb.put_event('office', 'Letter', '{"to": "Bonn"}', bus => 'post') AS event \gset
DELETE FROM eb.events WHERE id = :'event';
SELECT body ->> 'id' = :'event' AS same_event, body -> 'detail' AS detail, body -> 'erased' AS erased, headers FROM eb.queue_routed;
SELECT n.result FROM eb.receive('routed') r, eb.nack('routed', ARRAY[r.receipt], 'empty') n;
SELECT body ->> 'id' = :'event' AS same_event, body -> 'detail' AS detail, body -> 'erased' AS erased FROM eb.queue_routed_dlq;

-- Order is kept whatever has become of the events: in place, erased, moved to another page, or none at all.
SELECT eb.purge('routed_dlq');
SELECT count(eb.put_event('office', 'Letter', jsonb_build_object('n', n), bus => 'post')) FROM generate_series(1, 3) n;
SELECT eb.send('routed', '{"n": 4}') IS NOT NULL AS sent;
SELECT count(eb.put_event('office', 'Letter', jsonb_build_object('n', n), bus => 'post')) FROM generate_series(5, 6) n;
DELETE FROM eb.events WHERE detail ->> 'n' = '2';
WITH moved AS (DELETE FROM eb.events WHERE detail ->> 'n' IN ('3', '5') RETURNING *) INSERT INTO eb.events SELECT * FROM moved;
SELECT coalesce(body -> 'detail' ->> 'n', body ->> 'n') AS n, body -> 'erased' AS erased
FROM eb.consume('routed', 10);

-- A queue that rules deliver to is not dropped.
SELECT eb.drop_queue('routed', true);
SELECT eb.remove_target('all', 'queue', bus => 'post');
SELECT eb.drop_queue('routed', true);
SELECT eb.delete_rule('all', bus => 'post');
SELECT eb.delete_bus('post');

-- Letters of a queue that is gone stay, unless a destination is named.
SELECT eb.create_queue('doomed', max_receive_count => 1);
SELECT eb.send('doomed', '1'), eb.send('doomed', '2') \g /dev/null
SELECT n.result FROM eb.receive('doomed', 10) r, eb.nack('doomed', ARRAY[r.receipt], 'bad') n;
SELECT eb.send('doomed_dlq', '"sent there directly"') > 0 AS sent;
SELECT eb.drop_queue('doomed');
SELECT eb.redrive('doomed_dlq');
SELECT eb.redrive('doomed_dlq', 'parcels', max_messages => 1);

-- A dead-letter queue that holds letters is not dropped in passing.
SELECT eb.drop_queue('doomed_dlq');
SELECT eb.drop_queue('doomed_dlq', with_dead_letters => true);

-- No dead-letter queue: retried without end.
SELECT eb.create_queue('patient', max_receive_count => 1, dead_letter_queue => '', min_redelivery_delay => '0',
	backoff_base => '0', backoff_cap => '0');
SELECT eb.send('patient', '1') > 0 AS sent;
SELECT n.result FROM eb.receive('patient') r, eb.nack('patient', ARRAY[r.receipt]) n;
SELECT n.result FROM eb.receive('patient') r, eb.nack('patient', ARRAY[r.receipt]) n;
SELECT receive_count, state FROM eb.queue_patient;

-- A dead-letter queue whose row somebody deleted by hand: nothing is lost.
SELECT eb.create_queue('careless', max_receive_count => 1, min_redelivery_delay => '0', backoff_base => '0',
	backoff_cap => '0');
SELECT eb.send('careless', '1') > 0 AS sent;
DELETE FROM eb.queues WHERE name = 'careless_dlq';
SELECT n.result FROM eb.receive('careless') r, eb.nack('careless', ARRAY[r.receipt]) n;
SELECT body, receive_count FROM eb.receive('careless');
DROP VIEW eb.queue_careless_dlq;
DROP TABLE eb.q_careless_dlq;

-- Errors.
SELECT eb.redrive('nowhere');
SELECT eb.redrive(NULL);
SELECT eb.redrive('parcels_dlq', 'nowhere');
SELECT eb.redrive('parcels_dlq', 'parcels_dlq');
SELECT eb.redrive('parcels_dlq', max_messages => 0);
SELECT eb.redrive('parcels_dlq', pattern => '{"source": "x"}');

SELECT eb.drop_queue(q, true) FROM unnest(ARRAY['parcels', 'belt', 'patient', 'careless']) q;
SELECT name FROM eb.queues;
