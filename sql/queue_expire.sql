-- Messages live as long as their queue's retention says.  The clock of this
-- session is moved to see it; eb.maintain() does what the maintainer does.
-- (Ids never go back, so where an earlier test moved the clock we start there.)
SELECT eb.create_queue('clock', dead_letter_queue => '');
SELECT greatest(0, 1000 * ceil(extract(epoch FROM eb.message_time(eb.send('clock', '1')) - clock_timestamp()))::int) AS start \gset
SELECT eb.drop_queue('clock');
SELECT :start + 23 * 60000 AS min23, :start + 25 * 60000 AS min25, :start + 37 * 60000 AS min37 \gset
SET eb.clock_offset = :start;

SELECT eb.create_queue('milk', retention => '24 min', dead_letter_queue => '');
SELECT eb.create_queue('lanes', fifo => true, retention => '24 min', dead_letter_queue => '');
SELECT eb.send('milk', '"old, leased"') > 0 AS sent;
SELECT body FROM eb.receive('milk', 1, '30 min');
SELECT eb.send('milk', '"old, lease run out"') > 0 AS sent;
SELECT body FROM eb.receive('milk', 1, '1 ms');
SELECT eb.send('milk', '"old, delayed for 12 minutes"', delay => '12 min'), eb.send('milk', '"old"') \g /dev/null
SELECT eb.send('lanes', to_jsonb(i), group_id => CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END) > 0 AS sent
FROM generate_series(1, 4) i;
SELECT pg_sleep(0.01);

-- Nothing is too old yet.
CALL eb.maintain();
SELECT body, state FROM eb.queue_milk ORDER BY message_id;

-- 23 minutes later new ones come in.
SET eb.clock_offset = :min23;
SELECT eb.send('milk', '"young"') > 0 AS sent;
SELECT eb.send('lanes', to_jsonb(i), group_id => CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END) > 0 AS sent
FROM generate_series(5, 6) i;
CALL eb.maintain();
SELECT body, state FROM eb.queue_milk ORDER BY message_id;

-- Another two minutes, and the first ones are gone: but one whose
-- delay ended 13 minutes ago has that long left, and one that a consumer holds
-- is left to him.
SET eb.clock_offset = :min25;
CALL eb.maintain();
SELECT body, state FROM eb.queue_milk ORDER BY message_id;

-- Of a FIFO group the head and what was parked behind it went; the group goes on.
SELECT body, group_id, state FROM eb.queue_lanes ORDER BY message_id;
SELECT body FROM eb.consume('lanes', 10);

-- When the lease has run out, that one goes as well, and so does the delayed one.
SET eb.clock_offset = :min37;
CALL eb.maintain();
SELECT body, state FROM eb.queue_milk ORDER BY message_id;

RESET eb.clock_offset;
SELECT eb.drop_queue('milk'), eb.drop_queue('lanes');
