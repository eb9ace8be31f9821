#!/usr/bin/env python3
"""Prints the figures of the matcher beside their targets. Started by `run`, which makes the server that this talks to."""
import json
import os
import subprocess
import sys

import data

SECONDS = float(os.environ.get('BENCH_SECONDS', '1'))
FUNCTIONS = """
CREATE FUNCTION bench_match(rules jsonb[], events jsonb[], seconds float8, OUT ns float8, OUT matches float8)
    AS 'matcher_bench', 'matcher_bench_match' LANGUAGE C STRICT;
CREATE FUNCTION bench_compile(rules jsonb[], runs int, OUT ms float8, OUT bytes bigint)
    AS 'matcher_bench', 'matcher_bench_compile' LANGUAGE C STRICT;
CREATE TABLE texts (set text, n int, doc text);
CREATE TABLE load (n serial, doc text);
"""
missed = []


def sql(text):
    out = subprocess.run([os.environ['PSQL'], '-XqAt', '-v', 'ON_ERROR_STOP=1', '-F', '\t'], input=text, text=True,
                         stdout=subprocess.PIPE, check=True)
    return out.stdout


def array(docs):
    """The documents as an SQL expression"""
    return 'ARRAY[%s]::jsonb[]' % ','.join("'%s'" % json.dumps(d, separators=(',', ':')).replace("'", "''") for d in docs)


def store(name, docs):
    """Keeps documents in a table, so that statements stay short"""
    lines = ''.join(json.dumps(d, separators=(',', ':')).replace('\\', '\\\\') + '\n' for d in docs)
    sql("DELETE FROM texts WHERE set = '%s';\n" % name +
        "COPY load (doc) FROM stdin;\n" + lines + "\\.\n" +
        "INSERT INTO texts SELECT '%s', n, doc FROM load; TRUNCATE load RESTART IDENTITY;" % name)


def stored(name):
    return "(SELECT array_agg(doc::jsonb ORDER BY n) FROM texts WHERE set = '%s')" % name


def match(rules, events, seconds=None):
    """ns an event, matches an event"""
    out = sql('SELECT ns, matches FROM bench_match(%s, %s, %g)' % (rules, events, seconds or SECONDS))
    return [float(x) for x in out.split('\t')]


def line(part, name, figure, target='', good=True):
    verdict = '' if not target else 'reached' if good else 'MISSED'
    if not good:
        missed.append(name)
    print('(%s) %-52s %-42s %-28s %s' % (part, name, figure, target, verdict), flush=True)


def rate(ns):
    return '%.0f k/s (%.0f ns)' % (1e6 / ns, ns)


def part_a():
    store('events', data.events(20000))
    for name, rule in data.SINGLE:
        ns, found = match(array([rule]), stored('events'))
        # the array of coordinates holds about thirty numbers
        wanted = 2e6 if name == 'exact' else 1e6 if 'coordinates' not in name else None
        line('a', '1 rule: ' + name, '%s, %.3f match' % (rate(ns), found), '' if not wanted else '>= %.0f k/s' % (wanted / 1e3),
             not wanted or 1e9 / ns >= wanted)
    for name, rules in data.SETS:
        ns, found = match(array(rules), stored('events'))
        line('a', name, '%s, %.3f match' % (rate(ns), found))


def part_b():
    store('events', data.events(20000))
    times = []
    for n in (10, 100, 1000, 10000, 100000):
        store('rules', data.layered(n))
        ns, found = match(stored('rules'), stored('events'))
        times.append(ns)
        line('b', '%d rules of four fields' % n, '%s, %.2f match' % (rate(ns), found), '>= 300 k/s', ns <= 1e9 / 300e3)
    # with few rules most events match none: the same events at every size compare like with like
    store('few', [e for e in data.events(20000) if any(e['detail-type'] == t and e['source'] == s and e['detail']['x'] == x
                                                     for s, t, x in map(data.group, range(2)))])
    same = []
    for n in (10, 100000):
        store('rules', data.layered(n))
        ns, found = match(stored('rules'), stored('few'))
        same.append(ns)
        line('b', '%d rules, events of groups 0 and 1' % n, '%s, %.2f match' % (rate(ns), found))
    line('b', 'time at 100000 rules / at 10', '%.2f; groups 0 and 1: %.2f; slowest / fastest %.2f' % (
        times[-1] / times[0], same[1] / same[0], max(times) / min(times)), '<= 1.5', max(times) / min(times) <= 1.5)


def part_c():
    for name, rules, events in data.shapes():
        store('rules', rules)
        store('events', events)
        ns, found = match(stored('rules'), stored('events'))
        line('c', '10000 rules: ' + name, '%s, %.1f match' % (rate(ns), found), '>= 20 k/s', ns <= 5e4)
    for name, rules, events in data.harder_shapes():
        store('rules', rules)
        store('events', events)
        ns, found = match(stored('rules'), stored('events'))
        line('c', '10000 rules: ' + name, '%s, %.1f match' % (rate(ns), found))


def compile_figures(name, n=10000):
    ms, size = sql('SELECT ms, bytes FROM bench_compile(%s, 5)' % stored('rules')).split('\t')
    line('d', 'compile %d rules: %s' % (n, name), '%.1f ms, %.0f bytes a rule' % (float(ms), int(size) / n),
         '< %d ms, < 1000 bytes' % (n / 100), float(ms) < n / 100 and int(size) / n < 1000)


def part_d():
    for n in (10000, 100000):
        store('rules', data.layered(n))
        compile_figures('four fields', n)
    for name, rules, _ in data.shapes():
        if name == 'anything-but beside an exact value':
            continue            # lists of ninety: the rules themselves are larger than the limit
        store('rules', rules)
        compile_figures(name)


def part_e():
    for name, rules, event in data.arrays():
        store('rules', rules)
        store('events', [event])
        ns, found = match(stored('rules'), stored('events'))
        one = max(match(array([r]), stored('events'), 0.02)[0] for r in rules)
        line('e', 'arrays of 1000 objects: ' + name, '%.0f us, %.1f match; one rule %.0f us' % (ns / 1e3, found, one / 1e3),
             '<= %d x one rule' % len(rules), ns <= 1.1 * len(rules) * one)


def main():
    sql(FUNCTIONS)
    for part in sys.argv[1:] or 'abcde':
        globals()['part_' + part]()
    print('%d figures missed%s' % (len(missed), ': ' + ', '.join(missed) if missed else ''))
    return len(missed) > 0


if __name__ == '__main__':
    sys.exit(main())
