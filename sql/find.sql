-- Single events: by id, and all of one correlation id.
CREATE EXTENSION IF NOT EXISTS pg_eventbus;
SET client_min_messages = warning;
SELECT eb.create_bus('find');
SELECT eb.create_bus('find2', retention => '1 day');
SELECT eb.put_event('web', 'RequestSeen', '{"n": 1}', 'find', correlation_id => 'find-42') AS first \gset
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 2}', 'find2', correlation_id => 'find-42', causation_id => :'first'));
SELECT count(eb.put_event('shop', 'OrderPlaced', '{"n": 3}', 'find', correlation_id => 'find-43'));

-- By id.
SELECT source, detail_type, detail, correlation_id FROM eb.find_event(:'first');
SELECT count(*) FROM eb.find_event('01a20c24-53ea-7790-8000-000000000000');
SELECT count(*) FROM eb.find_event('ffffffff-ffff-4fff-8fff-ffffffffffff');
SELECT count(*) FROM eb.find_event(NULL);

-- What happened for one request, over all buses.
SELECT source, detail_type, detail, causation_id = :'first' AS caused_by_first FROM eb.trace('find-42');
SELECT count(*) FROM eb.trace('find-42', now() + interval '1 hour');
SELECT count(*) FROM eb.trace('nothing');

-- Only from buses that one may read.
CREATE ROLE find_reader;
GRANT SELECT ON eb.bus_find TO find_reader;
SET ROLE find_reader;
SELECT source FROM eb.trace('find-42');
SELECT count(*) FROM eb.find_event(:'first');
RESET ROLE;
REVOKE SELECT ON eb.bus_find FROM find_reader;
SET ROLE find_reader;
SELECT count(*) FROM eb.trace('find-42');
SELECT count(*) FROM eb.find_event(:'first');
RESET ROLE;
DROP ROLE find_reader;
SELECT eb.delete_bus('find');
SELECT eb.delete_bus('find2');
