-- Row capture: a trigger turns the changes of any table into events.
\set VERBOSITY default
SET TimeZone = 'UTC';
SELECT eb.create_bus('rc');
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int PRIMARY KEY, customer text, total numeric, tags text[], placed timestamptz, note text);
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON shop.orders
	FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('rc');
CREATE TRIGGER capture_truncate AFTER TRUNCATE ON shop.orders
	FOR EACH STATEMENT EXECUTE FUNCTION eb.publish_row_changes('rc');

-- One event for each row: what happened, the row before and after, the columns that changed.
INSERT INTO shop.orders VALUES (1, 'Ann', 12.50, '{new,web}', '2026-01-31 12:00+00'), (2, 'Ben', 7, NULL, NULL);
UPDATE shop.orders SET total = total + 1, note = 'x' WHERE id = 1;
UPDATE shop.orders SET customer = customer WHERE id = 2;
DELETE FROM shop.orders WHERE id = 2;
TRUNCATE shop.orders;
SELECT source, detail_type, detail - '{schema,table}'::text[] AS detail FROM eb.bus_rc ORDER BY id;
SELECT DISTINCT detail->>'schema' AS schema, detail->>'table' AS table FROM eb.bus_rc;

-- Rules see the rows: a trigger is all it takes to react to one.
SELECT eb.create_queue('rc_q');
SELECT eb.put_rule('expensive', '{"detail-type": ["orders.updated"], "detail": {"changed": ["total"], "new": {"total": [{"numeric": [">", 100]}]}}}', bus => 'rc');
SELECT eb.put_target('expensive', queue => 'rc_q', bus => 'rc', input_path => '$.detail.new.id');
INSERT INTO shop.orders (id, total) VALUES (3, 50), (4, 60);
UPDATE shop.orders SET total = total * 2;
UPDATE shop.orders SET note = 'y';
SELECT body FROM eb.consume('rc_q', 10);

-- Source and detail type can be chosen; columns that were dropped are not shown.
CREATE TABLE shop.items (gone int, sku text, "Qty" int);
ALTER TABLE shop.items DROP COLUMN gone;
CREATE TRIGGER capture AFTER INSERT OR UPDATE ON shop.items
	FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('rc', 'shop.stock', 'Item');
INSERT INTO shop.items VALUES ('a', 1);
UPDATE shop.items SET "Qty" = 2;
SELECT source, detail_type, detail FROM eb.bus_rc WHERE source = 'shop.stock' ORDER BY id;

-- For bulk changes: all rows of a statement at once, from its transition tables.
CREATE TABLE shop.bulk (id int, v text);
CREATE TRIGGER ins AFTER INSERT ON shop.bulk REFERENCING NEW TABLE AS n
	FOR EACH STATEMENT EXECUTE FUNCTION eb.publish_row_changes('rc');
CREATE TRIGGER upd AFTER UPDATE ON shop.bulk REFERENCING OLD TABLE AS o NEW TABLE AS n
	FOR EACH STATEMENT EXECUTE FUNCTION eb.publish_row_changes('rc');
CREATE TRIGGER del AFTER DELETE ON shop.bulk REFERENCING OLD TABLE AS o
	FOR EACH STATEMENT EXECUTE FUNCTION eb.publish_row_changes('rc');
INSERT INTO shop.bulk SELECT n, 'v' || n FROM generate_series(1, 3) n;
UPDATE shop.bulk SET v = v || '!' WHERE id > 1;
DELETE FROM shop.bulk WHERE id > 2;
DELETE FROM shop.bulk WHERE false;
SELECT detail_type, detail - '{schema,table}'::text[] AS detail FROM eb.bus_rc WHERE source = 'shop.bulk' ORDER BY id;
INSERT INTO shop.bulk SELECT n, 'v' || n FROM generate_series(1, 3000) n;
SELECT count(*) FROM eb.bus_rc WHERE source = 'shop.bulk';

-- A partitioned table speaks for its partitions.
CREATE TABLE shop.parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM (0) TO (10);
CREATE TABLE shop.parts_2 PARTITION OF shop.parts FOR VALUES FROM (10) TO (20);
CREATE TRIGGER capture AFTER INSERT OR UPDATE ON shop.parts
	FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('rc');
INSERT INTO shop.parts VALUES (1, 'a'), (11, 'b');
UPDATE shop.parts SET v = 'c' WHERE id = 1;
SELECT source, detail_type, detail FROM eb.bus_rc WHERE source LIKE 'shop.parts%' ORDER BY id;

-- The change and its event are one transaction.
BEGIN;
INSERT INTO shop.items VALUES ('rolled back', 1);
ROLLBACK;
SELECT count(*) FROM eb.bus_rc WHERE detail @> '{"new": {"sku": "rolled back"}}';
-- so what cannot be published cannot be changed
SET eb.max_entry_size = '1kB';
INSERT INTO shop.items VALUES (repeat('x', 2000), 1);
RESET eb.max_entry_size;

-- What the trigger refuses.
CREATE TABLE shop.odd (id int);
CREATE TRIGGER capture BEFORE INSERT ON shop.odd FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('rc');
INSERT INTO shop.odd VALUES (1);
DROP TRIGGER capture ON shop.odd;
CREATE TRIGGER capture AFTER INSERT ON shop.odd FOR EACH STATEMENT EXECUTE FUNCTION eb.publish_row_changes('rc');
INSERT INTO shop.odd VALUES (1);
DROP TRIGGER capture ON shop.odd;
CREATE TRIGGER capture AFTER UPDATE ON shop.odd REFERENCING NEW TABLE AS n
	FOR EACH STATEMENT EXECUTE FUNCTION eb.publish_row_changes('rc');
UPDATE shop.odd SET id = 1;
DROP TRIGGER capture ON shop.odd;
CREATE TRIGGER capture AFTER INSERT ON shop.odd FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('nowhere');
INSERT INTO shop.odd VALUES (1);
DROP TRIGGER capture ON shop.odd;
CREATE TRIGGER capture AFTER INSERT ON shop.odd FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('rc', 'a', 'b', 'c');
INSERT INTO shop.odd VALUES (1);
DROP TRIGGER capture ON shop.odd;
CREATE TRIGGER capture AFTER INSERT ON shop.odd FOR EACH ROW EXECUTE FUNCTION eb.publish_row_changes('rc', 'eb.odd');
INSERT INTO shop.odd VALUES (1);
DROP TABLE shop.odd;

SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;
SELECT eb.delete_bus('rc', with_rules => true);
SELECT eb.drop_queue('rc_q');
