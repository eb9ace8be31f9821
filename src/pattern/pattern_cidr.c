/*-------------------------------------------------------------------------
 *
 * pattern_cidr.c
 *	  IP addresses and blocks, as the pattern language reads them.
 *
 * Neither inet_pton() nor the inet type reads this language: leading zeros
 * are decimal and allowed, a dotted tail, a zone or a mask makes a string no
 * address, and an IPv4-mapped IPv6 address is the IPv4 address.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_int.h"

#define MAX_IPV4_TEXT	15
#define GROUPS			8

static bool
parse_ipv4(const char *s, uint32 len, EbAddress *address)
{
	uint32		i = 0;

	if (len > MAX_IPV4_TEXT)
		return false;
	for (int group = 0; group < 4; group++)
	{
		uint32		start;
		int			value = 0;

		if (group > 0 && (i >= len || s[i++] != '.'))
			return false;
		/* 15 characters cannot hold a group that overflows an int */
		for (start = i; i < len && s[i] >= '0' && s[i] <= '9'; i++)
			value = Min(value * 10 + (s[i] - '0'), 1000);
		if (i == start || value > 255)
			return false;
		address->bytes[group] = (uint8) value;
	}
	if (i != len)
		return false;
	address->family = 4;
	return true;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
parse_ipv6(const char *s, uint32 len, EbAddress *address)
{
	uint16		groups[GROUPS];
	int			ngroups = 0;
	int			gap = -1;		/* groups before the :: */
	uint32		i = 0;

	if (len >= 2 && s[0] == ':' && s[1] == ':')
	{
		gap = 0;
		i = 2;
	}
	while (i < len)
	{
		uint32		start;
		uint32		value = 0;

		for (start = i; i < len && hex_digit(s[i]) >= 0; i++)
		{
			value = value * 16 + hex_digit(s[i]);
			if (value > 0xffff)
				return false;
		}
		if (i == start || ngroups == GROUPS)
			return false;
		groups[ngroups++] = (uint16) value;
		if (i == len)
			break;
		if (s[i++] != ':')
			return false;
		if (i < len && s[i] == ':')
		{
			if (gap >= 0)
				return false;
			gap = ngroups;
			i++;
		}
		else if (i == len)
			return false;		/* a single colon at the end */
	}
	if (gap < 0 ? ngroups != GROUPS : ngroups >= GROUPS)
		return false;

	memset(address->bytes, 0, sizeof(address->bytes));
	for (int g = 0; g < ngroups; g++)
	{
		int			place = gap >= 0 && g >= gap ? GROUPS - ngroups + g : g;

		address->bytes[2 * place] = groups[g] >> 8;
		address->bytes[2 * place + 1] = groups[g] & 0xff;
	}
	address->family = 6;
	return true;
}

/* 80 zero bits and 16 ones in front of an IPv4 address */
static bool
is_mapped_ipv4(const EbAddress *address)
{
	for (int i = 0; i < 10; i++)
	{
		if (address->bytes[i] != 0)
			return false;
	}
	return address->bytes[10] == 0xff && address->bytes[11] == 0xff;
}

/* Reads an address; all its bits are significant. */
bool
eb_address_parse(const char *s, uint32 len, EbAddress *address)
{
	memset(address, 0, sizeof(*address));

	/* cheap refusal of nearly all strings that are none */
	if (len < 2 || (hex_digit(s[0]) < 0 && s[0] != ':'))
		return false;

	if (!parse_ipv4(s, len, address))
	{
		memset(address, 0, sizeof(*address));
		if (!parse_ipv6(s, len, address))
		{
			memset(address, 0, sizeof(*address));
			return false;
		}
		if (is_mapped_ipv4(address))
		{
			memmove(address->bytes, address->bytes + 12, 4);
			memset(address->bytes + 4, 0, 12);
			address->family = 4;
		}
	}
	address->bits = EB_ADDRESS_BITS(address->family);
	return true;
}

/* Reads address/bits; host bits are cleared. */
EbCidrResult
eb_cidr_parse(const char *s, uint32 len, EbAddress *block)
{
	const char *slash = len > 0 ? memchr(s, '/', len) : NULL;
	const char *p;
	int			bits = 0;

	memset(block, 0, sizeof(*block));
	if (slash == NULL || slash + 1 == s + len)
		return EB_CIDR_MALFORMED;
	for (p = slash + 1; p < s + len; p++)
	{
		if (*p < '0' || *p > '9')
			return EB_CIDR_MALFORMED;
		bits = Min(bits * 10 + (*p - '0'), 1000);
	}
	if (!eb_address_parse(s, (uint32) (slash - s), block))
		return EB_CIDR_MALFORMED;
	if (bits >= EB_ADDRESS_BITS(block->family))
		return EB_CIDR_TOO_MANY_BITS;
	eb_address_mask(block, bits);
	return EB_CIDR_OK;
}

/* Clears all but the first bits. */
void
eb_address_mask(EbAddress *address, int bits)
{
	int			whole = bits / 8;

	if (whole < 16)
	{
		address->bytes[whole] &= (uint8) (0xff00 >> (bits % 8));
		memset(address->bytes + whole + 1, 0, 15 - whole);
	}
	address->bits = (uint8) bits;
}

bool
eb_address_in(const EbAddress *address, const EbAddress *block)
{
	int			whole = block->bits / 8;
	int			rest = block->bits % 8;

	if (address->family != block->family ||
		memcmp(address->bytes, block->bytes, whole) != 0)
		return false;
	return rest == 0 ||
		((address->bytes[whole] ^ block->bytes[whole]) >> (8 - rest)) == 0;
}

/* The usual spelling: the first longest run of zero groups becomes :: */
void
eb_address_to_text(StringInfo out, const EbAddress *address)
{
	const uint8 *b = address->bytes;
	int			best = -1;
	int			bestlen = 1;

	if (address->family == 4)
	{
		appendStringInfo(out, "%d.%d.%d.%d", b[0], b[1], b[2], b[3]);
		return;
	}
	for (int g = 0; g < GROUPS; g++)
	{
		int			end = g;

		while (end < GROUPS && b[2 * end] == 0 && b[2 * end + 1] == 0)
			end++;
		if (end - g > bestlen)
		{
			best = g;
			bestlen = end - g;
		}
	}
	for (int g = 0; g < GROUPS; g++)
	{
		if (g == best)
		{
			appendStringInfoString(out, "::");
			g += bestlen - 1;
			continue;
		}
		if (g > 0 && (best < 0 || g != best + bestlen))
			appendStringInfoChar(out, ':');
		appendStringInfo(out, "%x", (b[2 * g] << 8) | b[2 * g + 1]);
	}
}
