-- What the clients of property.pl do, and what they write down in the same transactions; loaded by it.  Randomness is
-- that of random(), which each client seeds per transaction.

CREATE SEQUENCE numbers;						-- of events
CREATE SEQUENCE steps;							-- order in which things were put and got

-- ---- publishers ----

-- The truth: what was put is here if and only if the transaction that put it has committed.
CREATE TABLE truth (
	id			uuid PRIMARY KEY,
	step		bigint NOT NULL,				-- taken after the put: under the lock of a FIFO group
	source		text NOT NULL,
	type		text NOT NULL,
	n			bigint NOT NULL UNIQUE,
	group_key	text,
	client		integer NOT NULL,
	dedup_id	text,
	began		timestamptz NOT NULL,			-- the put, by the wall
	ended		timestamptz NOT NULL
);
CREATE TABLE duplicates (dedup_id text NOT NULL, id uuid NOT NULL);

CREATE TYPE entry AS (i bigint, id uuid, source text, type text, n bigint, group_key text, dedup_id text, duplicate boolean);

-- Put some events, each time in one of three ways.  All events of type C, which go to FIFO queues, are of one group, so
-- that transactions do not wait for each other in a circle.
CREATE FUNCTION publish(client integer, of_group text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	way integer := floor(random() * 3);
	before timestamptz := clock_timestamp();
	entries entry[];
	put entry[] := '{}';
	e entry;
BEGIN
	SELECT array_agg(ROW(i, NULL, source, type, n,
			CASE WHEN type = 'C' THEN of_group WHEN i % 4 > 0 THEN 'k' || n % 40 END,
			CASE WHEN chance < 0.12 THEN 'd' || n / 16 END, false)::entry)
		INTO entries
	FROM (SELECT i, nextval('numbers') AS n, random() AS chance,
			(ARRAY['shop', 'shop', 'stock'])[1 + floor(random() * 3)::integer] AS source,
			(ARRAY['A', 'A', 'B', 'C'])[1 + floor(random() * 4)::integer] AS type
		FROM generate_series(1, 1 + floor(random() ^ 3 * 25)::integer) i) x;

	IF way = 0 THEN
		FOREACH e IN ARRAY entries LOOP
			e.id := eb.put_event(e.source, e.type, jsonb_build_object('n', e.n, 'third', e.n % 3), 'b',
				group_key => e.group_key, dedup_id => e.dedup_id);
			put := put || e;
		END LOOP;
	ELSIF way = 1 THEN
		SELECT array_agg(ROW(u.i, p.event_id, u.source, u.type, u.n, u.group_key, u.dedup_id, p.duplicate)::entry)
			INTO put
		FROM eb.put_events((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('source', source, 'detail-type', type,
				'group', group_key, 'dedup-id', dedup_id, 'detail', jsonb_build_object('n', n, 'third', n % 3))) ORDER BY i)
				FROM unnest(entries)), 'b') p
			JOIN unnest(entries) u ON u.i = p.index;
	ELSE
		WITH inserted AS (
			INSERT INTO eb.bus_b (source, detail_type, detail, group_key, dedup_id)
			SELECT source, type, jsonb_build_object('n', n, 'third', n % 3), group_key, dedup_id FROM unnest(entries)
			RETURNING id, (detail ->> 'n')::bigint AS n)
		SELECT array_agg(ROW(u.i, inserted.id, u.source, u.type, u.n, u.group_key, u.dedup_id, false)::entry)
			INTO put
		FROM inserted JOIN unnest(entries) u USING (n);
	END IF;

	-- put_events says so itself
	IF way <> 1 THEN
		SELECT array_agg(ROW(i, id, source, type, n, group_key, dedup_id,
				dedup_id IS NOT NULL AND (EXISTS (SELECT FROM truth t WHERE t.id = u.id)
					OR EXISTS (SELECT FROM unnest(put) o WHERE o.id = u.id AND o.i < u.i)))::entry)
			INTO put
		FROM unnest(put) u;
	END IF;
	INSERT INTO truth (id, step, source, type, n, group_key, client, dedup_id, began, ended)
	SELECT id, nextval('steps'), source, type, n, group_key, publish.client, dedup_id, before, clock_timestamp()
	FROM (SELECT * FROM unnest(put) WHERE NOT duplicate ORDER BY i) u;
	INSERT INTO duplicates SELECT dedup_id, id FROM unnest(put) WHERE duplicate;
END $$;

-- ---- consumers ----

-- Queues that are emptied by eb.consume, and what came out of a queue for good, by that or by eb.ack.
CREATE TABLE sinks (queue text PRIMARY KEY);
CREATE TABLE got (
	step		bigint NOT NULL DEFAULT nextval('steps'),
	queue		text NOT NULL,
	id			uuid NOT NULL,
	n			bigint,
	group_id	text,
	replay		text
);

CREATE FUNCTION take(from_queue text, max integer) RETURNS bigint LANGUAGE sql AS $$
	WITH m AS MATERIALIZED (SELECT * FROM eb.consume(from_queue, max)),
		kept AS (INSERT INTO got (queue, id, n, group_id, replay)
			SELECT from_queue, (body ->> 'id')::uuid, (body -> 'detail' ->> 'n')::bigint, group_id, replay FROM m RETURNING 1)
	SELECT count(*) FROM kept $$;

-- From a queue or a random one, with a try before that fails.
CREATE FUNCTION take_some(from_queue text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	from_queue := coalesce(from_queue, (SELECT queue FROM sinks ORDER BY random() LIMIT 1));
	IF random() < 0.1 THEN
		BEGIN
			PERFORM take(from_queue, 20);
			RAISE EXCEPTION 'bad luck';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END IF;
	RETURN take(from_queue, 1 + floor(random() ^ 2 * 300)::integer);
END $$;

CREATE TABLE seen (step bigint NOT NULL, queue text NOT NULL, message_id bigint NOT NULL, receipt text NOT NULL,
	PRIMARY KEY (queue, message_id, step));
CREATE TABLE acked (step bigint NOT NULL, queue text NOT NULL, message_id bigint NOT NULL, receipt text NOT NULL);
CREATE TABLE effects (id uuid NOT NULL);

-- Receive, work, ack, a transaction each.  With luck = 1 all goes well, which returns how many were acked.
CREATE PROCEDURE lease_some(from_queue text, luck double precision DEFAULT 0, INOUT done integer DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE
	messages eb.message[];
	m eb.message;
BEGIN
	SELECT array_agg(r) INTO messages FROM eb.receive(from_queue, CASE luck WHEN 1 THEN 500 ELSE 1 + floor(random() * 6)::integer END) r;
	INSERT INTO seen SELECT nextval('steps'), from_queue, message_id, receipt FROM unnest(messages);
	IF random() - luck > 0.95 THEN ROLLBACK; RETURN; END IF;
	COMMIT;
	IF messages IS NULL THEN RETURN; END IF;
	IF random() - luck > 0.96 THEN PERFORM pg_sleep(1.3); END IF;	-- too late

	IF from_queue = 'leased' THEN
		FOREACH m IN ARRAY messages LOOP
			IF eb.process_once('billing', m.event_id) THEN
				INSERT INTO effects VALUES (m.event_id);
			END IF;
		END LOOP;
		IF random() - luck > 0.95 THEN ROLLBACK; RETURN; END IF;
		COMMIT;
	END IF;
	IF random() - luck > 0.85 THEN
		PERFORM eb.nack(from_queue, ARRAY(SELECT receipt FROM unnest(messages)), 'again');
		COMMIT;
		RETURN;
	END IF;

	FOREACH m IN ARRAY messages LOOP
		IF eb.ack(from_queue, m.receipt) THEN
			INSERT INTO acked VALUES (nextval('steps'), from_queue, m.message_id, m.receipt);
			INSERT INTO got (queue, id, n, group_id, replay)
				VALUES (from_queue, (m.body ->> 'id')::uuid, (m.body -> 'detail' ->> 'n')::bigint, m.group_id, m.replay);
			done := done + 1;
		END IF;
	END LOOP;
	IF random() - luck > 0.95 THEN ROLLBACK; ELSE COMMIT; END IF;
END $$;

-- Cursor subscriptions, and what was read of them in the transactions that moved them.
CREATE TABLE cursors (subscription text PRIMARY KEY);
CREATE TABLE had (
	step		bigint NOT NULL DEFAULT nextval('steps'),
	subscription text NOT NULL,
	part		integer NOT NULL,
	id			uuid NOT NULL,
	n			bigint
);

CREATE FUNCTION read(of_subscription text, max integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	e eb.event;
	last eb.event;
	rows bigint := 0;
BEGIN
	FOR e IN SELECT * FROM eb.read(of_subscription, max) LOOP
		INSERT INTO had (subscription, part, id, n) VALUES (of_subscription, e.partition, e.id, (e.detail ->> 'n')::bigint);
		last := e;
		rows := rows + 1;
	END LOOP;
	IF rows > 0 AND NOT eb.commit(of_subscription, last.id, last.partition) THEN
		RAISE EXCEPTION 'somebody else has read the same of "%"', of_subscription;
	END IF;
	RETURN rows;
END $$;

CREATE FUNCTION read_some() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	of_subscription text := (SELECT subscription FROM cursors ORDER BY random() LIMIT 1);
BEGIN
	IF random() < 0.1 THEN
		BEGIN
			PERFORM read(of_subscription, 50);
			RAISE EXCEPTION 'bad luck' USING ERRCODE = 'data_exception';
		EXCEPTION WHEN data_exception THEN NULL;
		END;
	END IF;
	RETURN read(of_subscription, 1 + floor(random() ^ 2 * 500)::integer);
END $$;

-- ---- the checker ----

-- A rule or subscription that was switched, by the wall: the switch took effect between before and after.
CREATE TABLE switches (what text NOT NULL, enabled boolean NOT NULL, before timestamptz NOT NULL, after timestamptz);

-- Whether an event put in this time must (true), must not (false) or may (null) have been routed by it.
CREATE FUNCTION was_routed(of_what text, began timestamptz, ended timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN count(DISTINCT s.enabled) = 1 THEN bool_and(s.enabled) END
	FROM (SELECT enabled, before, coalesce(lead(before) OVER w, 'infinity') AS until FROM switches
			WHERE what = of_what WINDOW w AS (ORDER BY before)
		UNION ALL
		-- the state before a switch holds until it is through
		SELECT lag(enabled) OVER w, before, after FROM switches WHERE what = of_what WINDOW w AS (ORDER BY before)) s
	WHERE s.enabled IS NOT NULL AND s.before <= was_routed.ended AND s.until >= was_routed.began $$;

-- Compare: both queries give (id uuid, n bigint), the first for each event once.  One line for each kind of difference.
CREATE FUNCTION differences(expected text, gotten text, optional text DEFAULT 'SELECT NULL::uuid, NULL::bigint WHERE false')
	RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH e AS MATERIALIZED (SELECT * FROM (%s) q (id, n)),
			o AS MATERIALIZED (SELECT * FROM (%s) q (id, n)),
			g AS MATERIALIZED (SELECT id, n, count(*) AS times FROM (%s) q (id, n) GROUP BY id, n),
			d AS (
				SELECT CASE WHEN e.id IS NOT NULL AND g.id IS NULL THEN 'missing'
						WHEN e.id IS NULL AND o.id IS NULL AND t.id IS NOT NULL THEN 'not for it'
						WHEN e.id IS NULL AND o.id IS NULL THEN 'never committed'
						WHEN g.n IS DISTINCT FROM coalesce(e.n, o.n) THEN 'with the detail of another'
						WHEN g.times > 1 THEN 'more than once' END AS what,
					coalesce(e.id, g.id) AS id, coalesce(e.n, g.n) AS n, g.times
				FROM e FULL JOIN g USING (id) LEFT JOIN o USING (id) LEFT JOIN truth t USING (id))
		SELECT count(*) || ' ' || what || ': ' || array_to_string((array_agg(
				format('%%s (n %%s%%s)', id, n, ', ' || times || ' times') ORDER BY id))[1:5], ', ')
		FROM d WHERE what IS NOT NULL GROUP BY what ORDER BY what$q$, expected, optional, gotten);
END $$;
