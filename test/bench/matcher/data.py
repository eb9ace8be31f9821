"""Events and rules to measure the matcher with, the same on every machine.

Events describe lots of land in a city, about 900 bytes each, as they could lie on a bus. The rules of layered() come in groups
of four for one source, detail-type and x; an event belongs to one of the first 250 groups, and its price (100 to 199.99)
lies in the ranges of three of the four. So with 1,000 rules and more, every event matches exactly three of them.
"""
import random

STREETS = ['MARKET', 'VALENCIA', 'GEARY', 'FOLSOM', 'HAYES', 'NOE', 'PINE', 'CLAY', 'UNKNOWN', 'LOMBARD', 'CASTRO', 'DIAMOND',
           'MISSION', 'HARRISON', 'OAK', 'FELL', 'POLK', 'GREEN', 'UNION', 'JACKSON', 'BUSH', 'SUTTER', 'POST', 'TURK']
KINDS = ['ST', 'AVE', 'BLVD', 'TER', 'CT', 'WAY', None]
GROUPS = 250


def group(g):
    return 'city.lots.%d' % (g % 10), 'Lot Registered %d' % (g // 10 % 10), 'x-%d' % (g // 100)


def layered(n):
    """n rules {source, detail-type, detail.x exact, detail.price range}"""
    for i in range(n):
        g, k = divmod(i, 4)
        source, kind, x = group(g)
        j = g % 50
        price = [['>=', j, '<', 1000 + j], ['>', 50, '<=', 500 + j], ['>=', 99, '<', 250 + j], ['>', 300, '<', 400 + j]][k]
        yield {'source': [source], 'detail-type': [kind], 'detail': {'x': [x], 'price': [{'numeric': price}]}}


def event(r, i):
    source, kind, x = group(r.randrange(GROUPS))
    block, lot = r.randrange(1, 6000), r.randrange(1, 200)
    number = '%04d%03d' % (block, lot)
    lon, lat = -122.5 + r.random() * 0.14, 37.7 + r.random() * 0.11
    ring = [[round(lon + r.uniform(-4e-4, 4e-4), 12), round(lat + r.uniform(-4e-4, 4e-4), 12), 0.0]
            for _ in range(r.randint(6, 11))]
    ring.append(ring[0])
    house = r.randrange(1, 4000)
    return {
        'version': '0',
        'id': '%08x-%04x-7%03x-%04x-%012x' % (i, r.getrandbits(16), r.getrandbits(12), 0x8000 | r.getrandbits(14),
                                            r.getrandbits(48)),
        'detail-type': kind, 'source': source, 'account': '111122223333', 'region': 'eu-central-1',
        'time': '2025-%02d-%02dT%02d:%02d:%02dZ' % (r.randint(1, 12), r.randint(1, 28), r.randint(0, 23), r.randint(0, 59),
                                                   r.randint(0, 59)),
        'resources': ['lot/' + number],
        'detail': {
            'x': x, 'price': round(r.uniform(100, 199.99), 2), 'type': 'Feature',
            'properties': {'MAPBLKLOT': number, 'BLKLOT': number, 'BLOCK_NUM': '%04d' % block, 'LOT_NUM': '%03d' % lot,
                           'FROM_ST': str(house), 'TO_ST': str(house + 2 * r.randint(0, 20)), 'STREET': r.choice(STREETS),
                           'ST_TYPE': r.choice(KINDS), 'ODD_EVEN': 'E' if house % 2 == 0 else 'O'},
            'geometry': {'type': 'Polygon', 'coordinates': [ring]}}}


def events(n, seed=1):
    r = random.Random(seed)
    return [event(r, i) for i in range(n)]


def on(name, *tests):
    return {'detail': {'properties': {name: list(tests)}}}


def price(*bounds):
    return {'detail': {'price': [{'numeric': list(bounds)}]}}


# One rule of each kind of test, and small sets of the kinds that event-ruler's own benchmark has.
SINGLE = [
    ('exact', on('STREET', 'VALENCIA')),
    ('wildcard', on('MAPBLKLOT', {'wildcard': '143*'})),
    ('wildcard *IA', on('STREET', {'wildcard': '*IA'})),
    ('anything-but', on('STREET', {'anything-but': ['FULTON']})),
    ('numeric', price('>=', 120, '<', 130.5)),
    ('prefix', on('STREET', {'prefix': 'VAL'})),
    ('suffix', on('STREET', {'suffix': 'CIA'})),
    ('equals-ignore-case', on('STREET', {'equals-ignore-case': 'valencia'})),
    ('exists', on('ST_TYPE', {'exists': True})),
    ('exists: false', on('NOTHING', {'exists': False})),
    ('cidr', on('STREET', {'cidr': '10.0.0.0/8'})),
    ('$or', {'$or': [on('STREET', 'VALENCIA'), on('ST_TYPE', 'AVE')]}),
    ('resources (an array)', {'resources': [{'prefix': 'lot/1430'}]}),
    ('numeric in coordinates', {'detail': {'geometry': {'coordinates': [{'numeric': ['>', -122.41, '<', -122.40]}]}}}),
]
SETS = [
    ('5 exact', [on('STREET', 'VALENCIA'), on('MAPBLKLOT', '1430022'), on('MAPBLKLOT', '2607117'), on('LOT_NUM', '022'),
                 on('BLOCK_NUM', '0143')]),
    ('5 wildcard', [on('MAPBLKLOT', {'wildcard': '143*'}), on('MAPBLKLOT', {'wildcard': '2*0*1*7'}),
                    on('STREET', {'wildcard': '*IA'}), on('MAPBLKLOT', {'wildcard': '*218'}), on('STREET', {'wildcard': 'C*O'})]),
    ('5 anything-but', [on('STREET', {'anything-but': ['FULTON']}), on('MAPBLKLOT', {'anything-but': ['1430022']}),
                        on('ODD_EVEN', {'anything-but': 'E'}), on('ST_TYPE', {'anything-but': ['ST', 'AVE']}),
                        {'detail': {'geometry': {'type': [{'anything-but': ['Polygon']}]}}}]),
    ('5 numeric', [price('>=', 120, '<', 130.5), price('>', 199), price('<=', 101.25), price('=', 150),
                   price('>', 160, '<=', 161)]),
]


def shaped(field, n=10000):
    """n rules that share source and detail-type; field(i) is the rest of the detail"""
    return [{'source': ['shop.orders'], 'detail-type': ['Order Placed'], 'detail': field(i)} for i in range(n)]


def word(r, n):
    return ''.join(r.choice('abcdefghijklmnopqrstuvwxyz0123456789') for _ in range(n))


def order(r, detail):
    return {'version': '0', 'id': word(r, 36), 'detail-type': 'Order Placed', 'source': 'shop.orders', 'account': '111122223333',
            'region': 'eu-central-1', 'time': '2025-01-01T00:00:00Z', 'resources': [],
            'detail': dict(detail, note=word(r, 500), customer={'id': word(r, 12), 'name': word(r, 20)})}


def shapes():
    """(name, rules, events): sets of 10,000 that differ in one test, about ten matching"""
    r = random.Random(7)
    yield ('numeric range', shaped(lambda i: {'n': [{'numeric': ['>=', i, '<', i + 10]}]}),
           [order(r, {'n': round(r.uniform(10, 9990), 2)}) for _ in range(1000)])
    stems = [word(r, 8) for _ in range(1000)]
    yield ('prefix', shaped(lambda i: {'s': [{'prefix': stems[i // 10] + '-' + '0123456789'[:i % 10]}]}),
           [order(r, {'s': r.choice(stems) + '-0123456789-' + word(r, 12)}) for _ in range(1000)])
    words = [word(r, 10) for _ in range(10000)]
    yield ('wildcard *literal*', shaped(lambda i: {'s': [{'wildcard': '*' + words[i] + '*'}]}),
           [order(r, {'s': '-'.join(r.choice(words) for _ in range(10))}) for _ in range(1000)])
    suffixes = [word(r, 8) for _ in range(1000)]
    yield ('suffix', shaped(lambda i: {'s': [{'suffix': '0123456789'[10 - i % 10:] + '-' + suffixes[i // 10]}]}),
           [order(r, {'s': word(r, 12) + '-0123456789-' + r.choice(suffixes)}) for _ in range(1000)])
    # one of 100 values, shared by 100 rules; nine in ten of those exclude the event's other value
    others = [word(r, 6) for _ in range(100)]
    yield ('anything-but beside an exact value',
           shaped(lambda i: {'k': ['k%d' % (i // 100)], 'o': [{'anything-but': [o for m, o in enumerate(others)
                                                                              if m % 10 != i % 10]}]}),
           [order(r, {'k': 'k%d' % r.randrange(100), 'o': r.choice(others)}) for _ in range(1000)])
    yield ('anything-but beside an exact value, 99 match',
           shaped(lambda i: {'k': ['k%d' % (i // 100)], 'o': [{'anything-but': others[i % 100]}]}),
           [order(r, {'k': 'k%d' % r.randrange(100), 'o': r.choice(others)}) for _ in range(1000)])
    yield ('exists: false beside an exact value',
           shaped(lambda i: {'k': ['k%d' % (i // 100)], 'f%d' % (i % 100): [{'exists': False}]}),
           [order(r, dict({'f%d' % f: 1 for f in r.sample(range(100), 90)}, k='k%d' % r.randrange(100))) for _ in range(1000)])


def harder_shapes():
    """Without a target: nothing but the exclusion tells 10,000 rules apart, and nearly all of them match."""
    r = random.Random(8)
    yield ('anything-but alone, 9,999 match', shaped(lambda i: {'o': [{'anything-but': 'v%d' % i}]}),
           [order(r, {'o': 'v%d' % r.randrange(10000)}) for _ in range(1000)])
    yield ('exists: false alone, 9,990 match', shaped(lambda i: {'f%d' % i: [{'exists': False}]}),
           [order(r, {'f%d' % f: 1 for f in r.sample(range(10000), 10)}) for _ in range(1000)])
    yield ('anything-but prefix alone, 9,999 match', shaped(lambda i: {'o': [{'anything-but': {'prefix': 'v%d-' % i}}]}),
           [order(r, {'o': 'v%d-x' % r.randrange(10000)}) for _ in range(1000)])


def arrays():
    """(name, rules, event): fields that meet in arrays of 1,000 objects"""
    r = random.Random(9)
    items = [{'sku': 's%d' % (i % 97), 'qty': i % 13, 'tags': [{'k': 't%d' % (i % 7), 'v': i % 11}]} for i in range(1000)]
    body = {'source': 'shop.orders', 'detail-type': 'Order Placed',
            'detail': {'items': items, 'more': [dict(i) for i in items], 'matrix': [[i, i + 1] for i in range(1000)]}}
    rules = []
    for i in range(50):
        d = {'items': {'sku': ['s%d' % i], 'qty': [i % 13, {'numeric': ['>', 20]}], 'tags': {'k': ['t%d' % (i % 7)], 'v': [i % 11]}},
             'more': {'sku': [{'prefix': 's%d' % (i % 9)}], 'qty': [{'exists': True}]}}
        if i % 5 == 0:
            d['items']['gone'] = [{'exists': False}]
        if i % 7 == 0:
            d['matrix'] = [i * 20]
        rules.append({'source': ['shop.orders'], 'detail': d})
    never = [{'detail': {'items': {'sku': ['s%d' % i], 'qty': [99]}, 'more': {'sku': ['none'], 'qty': [i % 13]}}} for i in range(50)]
    one = {'detail': {'items': {'sku': ['s1'], 'qty': [99, {'exists': True}]}}}
    yield 'one rule of two fields', [one], body
    yield '50 rules', rules, body
    yield '50 rules that come close', [{'detail': {'items': {'sku': ['s%d' % i], 'qty': [i % 13], 'tags': {'k': ['t%d' % (i % 7)],
                                       'v': [(i + 5) % 11]}, 'zz': [{'exists': False}]}}} for i in range(50)], body
    yield '50 rules that cannot match', never, body
    r.shuffle(items)
