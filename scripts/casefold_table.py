#!/usr/bin/env python3
"""Makes src/pattern/pattern_casefold.c from the Unicode data (Debian package unicode-data).

    scripts/casefold_table.py [DIRECTORY] > src/pattern/pattern_casefold.c

DIRECTORY holds UnicodeData.txt and SpecialCasing.txt; the default is where Debian puts them. Only unconditional mappings
of SpecialCasing.txt count: no locale, no context.
"""
import os
import re
import sys

HEAD = '''/*-------------------------------------------------------------------------
 *
 * pattern_casefold.c
 *	  Full case mappings of Unicode %s: every code point whose lower-case or
 *	  upper-case mapping is not the code point itself.
 *
 * Made by scripts/casefold_table.py; do not edit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_int.h"

const EbCaseMap eb_casefold_map[] = {
'''


def read(directory):
    lower, upper = {}, {}
    with open(os.path.join(directory, 'UnicodeData.txt'), encoding='ascii') as f:
        for line in f:
            c = line.split(';')
            code = int(c[0], 16)
            if c[12]:
                upper[code] = (int(c[12], 16),)
            if c[13]:
                lower[code] = (int(c[13], 16),)
    version = None
    with open(os.path.join(directory, 'SpecialCasing.txt'), encoding='utf-8') as f:
        for line in f:
            version = version or re.match(r'# SpecialCasing-([0-9.]+)\.txt', line)
            c = [x.strip() for x in line.split('#')[0].split(';')]
            if len(c) < 5 or c[4]:      # blank, or with a condition
                continue
            code = int(c[0], 16)
            lower[code] = tuple(int(x, 16) for x in c[1].split())
            upper[code] = tuple(int(x, 16) for x in c[3].split())
    return version.group(1), lower, upper


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else '/usr/share/unicode'
    version, lower, upper = read(directory)
    rows = []
    for code in sorted(set(lower) | set(upper)):
        low, up = lower.get(code, (code,)), upper.get(code, (code,))
        choices = {(code,), low, up}
        if len(choices) == 1:
            continue
        # one greedy pass decides a match only because of this
        for a in choices:
            for b in choices - {a}:
                assert b[:len(a)] != a and b[-len(a):] != a, hex(code)
        rows.append((code, () if low == (code,) else low, () if up == (code,) else up))
    out = sys.stdout
    out.write(HEAD % version)
    for code, low, up in rows:
        out.write('\t{0x%04X, {%s}, {%s}},\n' % (code, ', '.join('0x%04X' % x for x in low) or '0',
                                                 ', '.join('0x%04X' % x for x in up) or '0'))
    out.write('};\n\nconst int\teb_casefold_count = lengthof(eb_casefold_map);\n')


if __name__ == '__main__':
    main()
