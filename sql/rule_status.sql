-- requires: preload
-- What rules do: eb.rule_status counts in shared memory, eb.rule_targets lists where events go.
SELECT eb.create_queue('rs_q');
SELECT eb.create_bus('rs');
SELECT eb.create_bus('rs_other');
SELECT eb.put_rule('small', '{"detail": {"n": [{"numeric": ["<", 3]}]}}', bus => 'rs', description => 'up to 2');
SELECT eb.put_rule('never', '{"source": ["nobody"]}', bus => 'rs');
SELECT eb.put_rule('off', '{"source": ["shop"]}', bus => 'rs', enabled => false);
SELECT eb.put_target('small', queue => 'rs_q', bus => 'rs');
SELECT eb.put_target('small', target_bus => 'rs_other', detail_type => 'Forwarded', input_path => '$.detail', bus => 'rs');

-- Nothing was put yet, so nothing was counted.
SELECT rule, enabled, description, targets, matched, last_matched, hop_limited FROM eb.rule_status WHERE bus = 'rs' ORDER BY rule;
SELECT rule, target, kind, destination, input_path, on_missing, detail_type FROM eb.rule_targets WHERE bus = 'rs' ORDER BY target;

SELECT sum(matched) FROM eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', 'shop', 'detail-type', 't',
	'detail', jsonb_build_object('n', n))) FROM generate_series(1, 5) n), 'rs');
SELECT rule, matched, last_matched = (SELECT max(ingested_at) FROM eb.bus_rs WHERE detail->>'n' = '2') AS last, hop_limited
FROM eb.rule_status WHERE bus = 'rs' ORDER BY rule;

-- A change of the rules does not begin anew.
SELECT eb.enable_rule('off', 'rs');
SELECT eb.delete_rule('never', 'rs');
SELECT eb.put_event('shop', 't', '{"n": 1}', bus => 'rs') IS NOT NULL AS put;
SELECT rule, enabled, matched, hop_limited FROM eb.rule_status WHERE bus = 'rs' ORDER BY rule;

-- Forwards that the hop limit stopped are counted, each of them.
SET eb.max_hops = 0;
SET client_min_messages = error;
SELECT count(*) FROM eb.put_events((SELECT jsonb_agg(jsonb_build_object('source', 'else', 'detail-type', 't',
	'detail', jsonb_build_object('n', n))) FROM generate_series(1, 5) n), 'rs');
RESET client_min_messages;
RESET eb.max_hops;
SELECT rule, matched, hop_limited FROM eb.rule_status WHERE bus = 'rs' ORDER BY rule;

SELECT eb.delete_bus('rs', with_rules => true);
SELECT eb.delete_bus('rs_other');
SELECT eb.drop_queue('rs_q');
