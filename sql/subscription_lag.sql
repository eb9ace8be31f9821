-- The lag of a subscription is of the events that it wants.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
SELECT eb.create_bus('lag');
SELECT eb.create_subscription('every', 'lag');

-- As if the position had been written just now, however slow the machine is.
SET eb.clock_offset = 3600000;
SELECT eb.create_subscription('rare', 'lag', '{"detail": {"n": [{"numeric": [">", 1000]}]}}', start => 'earliest');
RESET eb.clock_offset;

-- What the pattern leaves out is no lag.
SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n), 'lag')) FROM generate_series(1, 10) n;
SELECT lag_events, lag_exact, lag FROM eb.subscription_rare;
SELECT lag_events, lag_exact, lag > '0' AS lags FROM eb.subscription_every;

-- A read that looks at a few of such events writes nothing; the lag is as it was.
SELECT xmin AS version, "position" FROM eb.subscription_positions WHERE subscription = 'rare' \gset
SELECT count(*) FROM eb.read('rare');
SELECT xmin = :'version' AND "position" = :'position' AS as_before FROM eb.subscription_positions WHERE subscription = 'rare';
SELECT lag_events, lag_exact, lag, evaluated, matched FROM eb.subscription_rare;

-- Two that it wants among others: both until the commit, none after it.
SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n), 'lag')) FROM generate_series(999, 1002) n;
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 3}', 'lag'));
SELECT lag_events, lag_exact, lag > '0' AS lags FROM eb.subscription_rare;
SELECT eb.commit('rare', (SELECT id FROM eb.read('rare', 1)));
SELECT lag_events, lag > '0' AS lags FROM eb.subscription_rare;
SELECT eb.commit('rare', (SELECT id FROM eb.read('rare', 1)));
SELECT lag_events, lag, matched FROM eb.subscription_rare;

-- Far behind, the first 10,000 are matched and the rest is estimated; where
-- none matched, the lag is the age of what was not looked at.
SELECT count(eb.put_event('shop', 'OrderPlaced', jsonb_build_object('n', n % 1000), 'lag')) FROM generate_series(1, 11000) n;
SELECT lag_events, lag_exact, lag > '0' AS lags FROM eb.subscription_rare;
SELECT lag_events BETWEEN 10000 AND 15000 AS about, lag_exact FROM eb.subscription_every;

-- A read looks at more; having looked at so many it moves the position.
SELECT count(*) FROM eb.read('rare');
SELECT lag_events, lag_exact, lag, matched FROM eb.subscription_rare;
SELECT evaluated >= 11000 AS evaluated FROM eb.subscription_rare;

-- By partition: a group's events are the lag of one.
SELECT eb.create_subscription('parted', 'lag', '{"source": ["shop"]}', partitions => 3);
SELECT count(eb.put_event('shop', 'OrderPlaced', '{}', 'lag', group_key => 'one')) FROM generate_series(1, 5);
SELECT count(eb.put_event('bank', 'Paid', '{}', 'lag', group_key => 'one')) FROM generate_series(1, 5);
SELECT lag_events, count(*) FROM eb.subscription_parted GROUP BY lag_events ORDER BY lag_events;

SELECT eb.drop_subscription(s) FROM unnest(ARRAY['every', 'rare', 'parted']) s;
SELECT eb.delete_bus('lag');
