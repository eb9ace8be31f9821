/*
 * qdrive.c
 *	  Load driver for message queues that live in PostgreSQL.
 *
 * One thread and one connection per client.  A system under test is described
 * by a handful of SQL statements, so every system is driven by the same loop
 * and the same client cost:
 *
 *	 queue style:  send($1 = event json)               sendbatch($1 = array)
 *	               receive($1 = max) -> (key, payload)  ack($1 = array of keys)
 *	 log style:    open() -> batch id or null, events($1 = batch id) -> (key,
 *	               payload), finish($1 = batch id)
 *
 * In every statement %q stands for the queue (base name + shard number) and
 * %c for the number of the client.  Each statement is its own transaction.
 * The event carries the client's clock at the start of the send, from which a
 * consumer in the same process computes the end-to-end latency.  --shape cuts
 * the event to what a system's publishing call takes (the whole envelope, an
 * entry without an id, the detail alone); --payloads sends the lines of a file
 * in turn instead.
 *
 * The result is one JSON object on standard output.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define MAX_SECONDS 600
#define MAX_ERRORS	50

typedef struct Samples
{
	uint32_t   *v;
	size_t		n;
	size_t		cap;
} Samples;

typedef struct Worker
{
	pthread_t	thread;
	int			idx;
	bool		producer;
	PGconn	   *conn;
	uint64_t	rng;
	unsigned	next_payload;
	int64_t		messages;
	int64_t		calls;			/* sends, or receives that returned rows */
	int64_t		empty;			/* receives that returned nothing */
	int64_t		errors;
	int64_t		payload_bytes;
	int64_t		last_us;		/* when the last message was sent or acked */
	int64_t		late_us;		/* worst delay against the send schedule */
	Samples		call_us;		/* send or receive call */
	Samples		ack_us;
	Samples		e2e_us;
	uint32_t	sec_messages[MAX_SECONDS];
	uint32_t	sec_calls[MAX_SECONDS];
	uint64_t	sec_call_us[MAX_SECONDS];
} Worker;

/* options */
static const char *conninfo = "";
static const char *queue_base = "bench";
static int	shards = 1;
static int	n_producers = 0;
static int	n_consumers = 0;
static int	send_batch = 1;
static int	receive_batch = 1;
static double rate = 0;			/* events/s over all producers; 0 = no limit */
static int64_t count = 0;		/* events over all producers; 0 = no limit */
static double duration = 10;
static double drain_grace = 0;	/* consumers go on this long after producers */
static bool drain = false;		/* consumers stop at an empty queue */
static bool json_batch = false;
static bool want_e2e = false;
static bool reconnect = false;	/* a new connection for every send */
static int64_t receive_count = 0;	/* each consumer stops after so many; 0 = no limit */
static enum
{
	SHAPE_ENVELOPE, SHAPE_ENTRY, SHAPE_DETAIL
}			shape = SHAPE_ENVELOPE;
static char **payloads;			/* lines of the file, instead of made-up events */
static int	n_payloads = 0;
static size_t max_event = 2048; /* no event is longer */
static int	poll_ms = 1;		/* sleep after an empty receive */
static const char *sql_send;
static const char *sql_after_send;
static const char *sql_receive;
static const char *sql_ack;
static const char *sql_open;
static const char *sql_events;
static const char *sql_finish;
static const char *sql_session;
static const char *sql_ticker;
static int	ticker_ms = 100;
static const char *listen_channel;

static pthread_barrier_t barrier;
static volatile int64_t t_start_us;
static volatile int64_t t_end_us;		/* producers stop */
static volatile int64_t t_end_consume_us;
static volatile bool ticker_stop;
static int64_t ticker_calls;

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
sleep_us(int64_t us)
{
	struct timespec ts = {us / 1000000, (us % 1000000) * 1000};

	while (us > 0 && nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
}

static void
add_sample(Samples *s, int64_t us)
{
	if (s->n == s->cap)
	{
		s->cap = s->cap ? s->cap * 2 : 4096;
		s->v = realloc(s->v, s->cap * sizeof(uint32_t));
		if (!s->v)
			abort();
	}
	s->v[s->n++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t) us;
}

static uint64_t
next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* Replace %q and %c. */
static char *
expand(const char *sql, int idx)
{
	char	   *out = malloc(strlen(sql) * 4 + 256);
	char	   *o = out;

	for (const char *p = sql; *p; p++)
	{
		if (p[0] == '%' && p[1] == 'q')
		{
			o += sprintf(o, "%s%d", queue_base, idx % shards);
			p++;
		}
		else if (p[0] == '%' && p[1] == 'c')
		{
			o += sprintf(o, "%d", idx);
			p++;
		}
		else
			*o++ = *p;
	}
	*o = '\0';
	return out;
}

/* Read the payload file: one JSON value a line. */
static void
read_payloads(const char *path)
{
	FILE	   *f = fopen(path, "r");
	char	   *line = NULL;
	size_t		cap = 0;
	ssize_t		len;

	if (!f)
	{
		perror(path);
		exit(1);
	}
	while ((len = getline(&line, &cap, f)) > 0)
	{
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		payloads = realloc(payloads, (n_payloads + 1) * sizeof(char *));
		if (!payloads)
			abort();
		payloads[n_payloads++] = strdup(line);
		if ((size_t) len >= max_event)
			max_event = len + 1;
	}
	free(line);
	fclose(f);
	if (n_payloads == 0)
	{
		fprintf(stderr, "%s is empty\n", path);
		exit(1);
	}
}

/*
 * An event of about 350 bytes in the shape of an EventBridge event, or the
 * part of it that the system takes.
 */
static int
build_event(char *buf, Worker *w)
{
	uint64_t	a;
	uint64_t	b;
	int64_t		us = now_us();
	time_t		secs = us / 1000000;
	struct tm	tm;
	unsigned	order;
	char	   *o = buf;

	if (n_payloads > 0)
		return sprintf(buf, "%s", payloads[w->next_payload++ % n_payloads]);
	a = next_random(&w->rng);
	b = next_random(&w->rng);
	order = (unsigned) (a % 900000000u) + 100000000u;
	gmtime_r(&secs, &tm);
	if (shape == SHAPE_ENVELOPE)
		o += sprintf(o, "{\"id\":\"%08x-%04x-4%03x-8%03x-%012" PRIx64 "\",",
					 (unsigned) (a >> 32), (unsigned) (a >> 16) & 0xffff,
					 (unsigned) a & 0xfff, (unsigned) (b >> 52) & 0xfff,
					 b & UINT64_C(0xffffffffffff));
	else if (shape == SHAPE_ENTRY)
		*o++ = '{';
	if (shape != SHAPE_DETAIL)
		o += sprintf(o,
					 "\"source\":\"shop.orders\",\"detail-type\":\"OrderPlaced\","
					 "\"time\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\",\"detail\":",
					 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
					 tm.tm_hour, tm.tm_min, tm.tm_sec);
	o += sprintf(o,
				 "{\"order_id\":\"ord-%u\",\"customer_id\":\"cus-%08x\","
				 "\"currency\":\"EUR\",\"total\":%u.%02u,"
				 "\"items\":[{\"sku\":\"SKU-%05u\",\"qty\":%u},{\"sku\":\"SKU-%05u\",\"qty\":%u}],"
				 "\"shipping\":{\"country\":\"DE\"},"
				 "\"sent_us\":%" PRId64 "}",
				 order, (unsigned) b,
				 (unsigned) (b % 900) + 10, (unsigned) (a % 100),
				 (unsigned) (a % 99991), (unsigned) (b % 5) + 1,
				 (unsigned) (b % 99989), (unsigned) (a % 5) + 1, us);
	if (shape != SHAPE_DETAIL)
		o += sprintf(o, "}");
	return (int) (o - buf);
}

static char *
append_array_element(char *o, const char *s)
{
	*o++ = '"';
	for (; *s; s++)
	{
		if (*s == '"' || *s == '\\')
			*o++ = '\\';
		*o++ = *s;
	}
	*o++ = '"';
	return o;
}

static void
complain(Worker *w, const char *what)
{
	if (w->errors++ == 0)
		fprintf(stderr, "client %d: %s: %s", w->idx, what, PQerrorMessage(w->conn));
	if (w->errors > MAX_ERRORS)
	{
		fprintf(stderr, "client %d: too many errors\n", w->idx);
		exit(1);
	}
}

static PGconn *
connect_or_die(void)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "connect: %s", PQerrorMessage(conn));
		exit(1);
	}
	PQclear(PQexec(conn, "set client_min_messages = error"));
	if (sql_session)
	{
		PGresult   *r = PQexec(conn, sql_session);

		if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		{
			fprintf(stderr, "session: %s", PQerrorMessage(conn));
			exit(1);
		}
		PQclear(r);
	}
	return conn;
}

static void
prepare_or_die(PGconn *conn, const char *name, const char *sql, int idx)
{
	char	   *s;
	PGresult   *r;

	if (!sql)
		return;
	s = expand(sql, idx);
	r = PQprepare(conn, name, s, 0, NULL);
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
	{
		fprintf(stderr, "prepare %s: %s%s\n", name, PQerrorMessage(conn), s);
		exit(1);
	}
	PQclear(r);
	free(s);
}

static PGresult *
run(Worker *w, const char *name, const char *arg)
{
	const char *values[1] = {arg};
	PGresult   *r = PQexecPrepared(w->conn, name, arg ? 1 : 0, values, NULL, NULL, 0);
	ExecStatusType st = PQresultStatus(r);

	if (st != PGRES_TUPLES_OK && st != PGRES_COMMAND_OK)
	{
		complain(w, name);
		PQclear(r);
		return NULL;
	}
	return r;
}

/* Without preparing it first, as the first statement of a connection. */
static PGresult *
run_once(Worker *w, const char *sql, const char *arg)
{
	const char *values[1] = {arg};
	char	   *s = expand(sql, w->idx);
	PGresult   *r = PQexecParams(w->conn, s, 1, NULL, values, NULL, NULL, 0);
	ExecStatusType st = PQresultStatus(r);

	free(s);
	if (st != PGRES_TUPLES_OK && st != PGRES_COMMAND_OK)
	{
		complain(w, "send");
		PQclear(r);
		return NULL;
	}
	return r;
}

static void
note_second(Worker *w, int64_t at, int64_t messages, int64_t call_us)
{
	int64_t		s = (at - t_start_us) / 1000000;

	if (s < 0 || s >= MAX_SECONDS)
		return;
	w->sec_messages[s] += messages;
	w->sec_calls[s]++;
	w->sec_call_us[s] += call_us;
}

static void *
producer_main(void *arg)
{
	Worker	   *w = arg;
	char	   *one = malloc(max_event);
	char	   *many = malloc((size_t) send_batch * (2 * max_event + 8) + 16);
	int64_t		quota = 0;
	int64_t		k = 0;
	double		interval_us = 0;

	if (!reconnect)
		prepare_or_die(w->conn, "send", sql_send, w->idx);
	prepare_or_die(w->conn, "after_send", sql_after_send, w->idx);
	if (count > 0)
		quota = count / n_producers + (w->idx < count % n_producers);
	if (rate > 0)
		interval_us = 1e6 * n_producers * send_batch / rate;

	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);

	for (;;)
	{
		int64_t		t0;
		int64_t		t1;
		int			n = send_batch;
		PGresult   *r;

		if (count > 0)
		{
			if (w->messages >= quota)
				break;
			if (n > quota - w->messages)
				n = (int) (quota - w->messages);
		}
		if (rate > 0)
		{
			/* spread the producers' phases over one interval */
			int64_t		due = t_start_us +
				(int64_t) (interval_us * (k + (double) w->idx / n_producers));

			if (due >= t_end_us)
				break;
			t0 = now_us();
			if (due > t0)
				sleep_us(due - t0);
			else if (t0 - due > w->late_us)
				w->late_us = t0 - due;
			k++;
		}
		if (now_us() >= t_end_us)
			break;

		if (send_batch == 1)
			w->payload_bytes += build_event(one, w);
		else
		{
			char	   *o = many;

			*o++ = json_batch ? '[' : '{';
			for (int i = 0; i < n; i++)
			{
				if (i > 0)
					*o++ = ',';
				if (json_batch)
				{
					int			len = build_event(o, w);

					w->payload_bytes += len;
					o += len;
				}
				else
				{
					w->payload_bytes += build_event(one, w);
					o = append_array_element(o, one);
				}
			}
			*o++ = json_batch ? ']' : '}';
			*o = '\0';
		}

		if (reconnect)
		{
			PQfinish(w->conn);
			w->conn = connect_or_die();
		}
		t0 = now_us();
		if (reconnect)
			r = run_once(w, sql_send, one);
		else
			r = run(w, "send", send_batch == 1 ? one : many);
		t1 = now_us();
		if (!r)
			continue;
		PQclear(r);
		w->messages += n;
		w->calls++;
		w->last_us = t1;
		add_sample(&w->call_us, t1 - t0);
		note_second(w, t1, n, t1 - t0);
		if (sql_after_send && (r = run(w, "after_send", NULL)) != NULL)
			PQclear(r);
	}
	free(one);
	free(many);
	return NULL;
}

static void
wait_for_work(Worker *w)
{
	if (listen_channel)
	{
		struct pollfd pfd = {PQsocket(w->conn), POLLIN, 0};
		PGnotify   *n;
		bool		got = false;

		PQconsumeInput(w->conn);
		while ((n = PQnotifies(w->conn)) != NULL)
		{
			PQfreemem(n);
			got = true;
		}
		if (got)
			return;
		poll(&pfd, 1, poll_ms);
		PQconsumeInput(w->conn);
		while ((n = PQnotifies(w->conn)) != NULL)
			PQfreemem(n);
	}
	else if (poll_ms > 0)
		sleep_us((int64_t) poll_ms * 1000);
}

static void
take_rows(Worker *w, PGresult *r, int64_t received)
{
	int			n = PQntuples(r);

	for (int i = 0; i < n; i++)
	{
		w->payload_bytes += PQgetlength(r, i, 1);
		if (want_e2e)
		{
			const char *p = strstr(PQgetvalue(r, i, 1), "\"sent_us\"");

			if (p && (p = strchr(p, ':')) != NULL)
				add_sample(&w->e2e_us, received - strtoll(p + 1, NULL, 10));
		}
	}
}

static void *
consumer_main(void *arg)
{
	Worker	   *w = arg;
	char		max_text[16];
	int			idle = 0;

	prepare_or_die(w->conn, "receive", sql_receive, w->idx);
	prepare_or_die(w->conn, "ack", sql_ack, w->idx);
	prepare_or_die(w->conn, "open", sql_open, w->idx);
	prepare_or_die(w->conn, "events", sql_events, w->idx);
	prepare_or_die(w->conn, "finish", sql_finish, w->idx);
	if (listen_channel)
	{
		char	   *ch = expand(listen_channel, w->idx);
		char		cmd[256];

		snprintf(cmd, sizeof(cmd), "listen \"%s\"", ch);
		PQclear(PQexec(w->conn, cmd));
		free(ch);
	}
	snprintf(max_text, sizeof(max_text), "%d", receive_batch);

	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);

	while (now_us() < t_end_consume_us && (receive_count == 0 || w->messages < receive_count))
	{
		int64_t		t0 = now_us();
		int64_t		t1;
		int64_t		t2;
		int			n = 0;
		char		batch[64] = "";
		PGresult   *r;
		PGresult   *a = NULL;

		if (sql_open)
		{
			r = run(w, "open", NULL);
			if (!r)
				continue;
			if (PQntuples(r) > 0 && !PQgetisnull(r, 0, 0))
				snprintf(batch, sizeof(batch), "%s", PQgetvalue(r, 0, 0));
			PQclear(r);
			if (batch[0] == '\0')
			{
				w->empty++;
				note_second(w, now_us(), 0, now_us() - t0);
				if (drain && ++idle >= 3)
					break;
				wait_for_work(w);
				continue;
			}
			r = run(w, "events", batch);
			if (!r)
				continue;
		}
		else
		{
			r = run(w, "receive", max_text);
			if (!r)
				continue;
		}
		t1 = now_us();
		n = PQntuples(r);
		if (n > 0)
		{
			w->calls++;
			add_sample(&w->call_us, t1 - t0);
			take_rows(w, r, t1);
		}

		if (sql_open)
			a = run(w, "finish", batch);
		else if (n > 0 && sql_ack)
		{
			size_t		len = 8;
			char	   *keys;
			char	   *o;

			for (int i = 0; i < n; i++)
				len += 2 * PQgetlength(r, i, 0) + 3;
			o = keys = malloc(len);
			*o++ = '{';
			for (int i = 0; i < n; i++)
			{
				if (i > 0)
					*o++ = ',';
				o = append_array_element(o, PQgetvalue(r, i, 0));
			}
			*o++ = '}';
			*o = '\0';
			a = run(w, "ack", keys);
			free(keys);
		}
		t2 = now_us();
		PQclear(r);
		if (a)
		{
			PQclear(a);
			add_sample(&w->ack_us, t2 - t1);
		}
		note_second(w, t2, n, t1 - t0);
		if (n > 0)
		{
			w->messages += n;
			w->last_us = t2;
			idle = 0;
		}
		else
		{
			w->empty++;
			if (sql_open)
				continue;		/* an empty batch: the next may follow at once */
			if (drain && ++idle >= 3)
				break;
			wait_for_work(w);
		}
	}
	return NULL;
}

static void *
ticker_main(void *arg)
{
	Worker		w = {.idx = 0};
	int64_t		due;

	(void) arg;
	w.conn = connect_or_die();
	prepare_or_die(w.conn, "tick", sql_ticker, 0);
	due = now_us();
	while (!ticker_stop)
	{
		PGresult   *r = run(&w, "tick", NULL);
		int64_t		t;

		if (r)
			PQclear(r);
		ticker_calls++;
		due += (int64_t) ticker_ms * 1000;
		t = now_us();
		if (due > t)
			sleep_us(due - t);
		else
			due = t;
	}
	PQfinish(w.conn);
	return NULL;
}

static int
cmp_u32(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

static void
print_samples(const char *name, Worker *ws, int n, bool producer, size_t offset)
{
	Samples		all = {0};
	double		sum = 0;

	for (int i = 0; i < n; i++)
	{
		Samples    *s = (Samples *) ((char *) &ws[i] + offset);

		if (ws[i].producer != producer)
			continue;
		for (size_t k = 0; k < s->n; k++)
		{
			add_sample(&all, s->v[k]);
			sum += s->v[k];
		}
	}
	if (all.n == 0)
		return;
	qsort(all.v, all.n, sizeof(uint32_t), cmp_u32);
	printf(",\"%s\":{\"n\":%zu,\"mean\":%.1f,\"p50\":%u,\"p90\":%u,\"p99\":%u,\"max\":%u}",
		   name, all.n, sum / all.n, all.v[all.n / 2], all.v[all.n * 9 / 10],
		   all.v[all.n * 99 / 100], all.v[all.n - 1]);
	free(all.v);
}

static void
print_role(const char *name, Worker *ws, int n, bool producer)
{
	int64_t		messages = 0,
				calls = 0,
				empty = 0,
				errors = 0,
				bytes = 0,
				last = 0,
				late = 0;
	int			seconds = 0;
	double		elapsed;

	for (int i = 0; i < n; i++)
	{
		if (ws[i].producer != producer)
			continue;
		messages += ws[i].messages;
		calls += ws[i].calls;
		empty += ws[i].empty;
		errors += ws[i].errors;
		bytes += ws[i].payload_bytes;
		if (ws[i].last_us > last)
			last = ws[i].last_us;
		if (ws[i].late_us > late)
			late = ws[i].late_us;
		for (int s = 0; s < MAX_SECONDS; s++)
			if (ws[i].sec_calls[s] && s + 1 > seconds)
				seconds = s + 1;
	}
	elapsed = last > t_start_us ? (last - t_start_us) / 1e6 : 0;
	printf(",\"%s\":{\"messages\":%" PRId64 ",\"calls\":%" PRId64 ",\"empty\":%" PRId64
		   ",\"errors\":%" PRId64 ",\"elapsed\":%.3f,\"rate\":%.1f,\"bytes\":%" PRId64
		   ",\"late_ms\":%.1f,\"per_second\":[",
		   name, messages, calls, empty, errors, elapsed,
		   elapsed > 0 ? messages / elapsed : 0.0, bytes, late / 1000.0);
	for (int s = 0; s < seconds; s++)
	{
		uint64_t	m = 0,
					c = 0,
					us = 0;

		for (int i = 0; i < n; i++)
			if (ws[i].producer == producer)
			{
				m += ws[i].sec_messages[s];
				c += ws[i].sec_calls[s];
				us += ws[i].sec_call_us[s];
			}
		printf("%s[%" PRIu64 ",%.0f]", s ? "," : "", m, c ? (double) us / c : 0.0);
	}
	printf("]");
	print_samples("call_us", ws, n, producer, offsetof(Worker, call_us));
	print_samples("ack_us", ws, n, producer, offsetof(Worker, ack_us));
	print_samples("e2e_us", ws, n, producer, offsetof(Worker, e2e_us));
	printf("}");
}

int
main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{"conninfo", 1, 0, 'd'}, {"queue", 1, 0, 'q'}, {"shards", 1, 0, 'S'},
		{"producers", 1, 0, 'p'}, {"consumers", 1, 0, 'c'},
		{"send-batch", 1, 0, 'b'}, {"receive-batch", 1, 0, 'B'},
		{"rate", 1, 0, 'r'}, {"count", 1, 0, 'n'}, {"duration", 1, 0, 't'},
		{"grace", 1, 0, 'g'}, {"drain", 0, 0, 'D'}, {"json-batch", 0, 0, 'j'},
		{"e2e", 0, 0, 'e'}, {"poll-ms", 1, 0, 'P'}, {"listen", 1, 0, 'L'},
		{"ticker-ms", 1, 0, 'T'},
		{"send", 1, 0, 1}, {"after-send", 1, 0, 2}, {"receive", 1, 0, 3},
		{"ack", 1, 0, 4}, {"open", 1, 0, 5}, {"events", 1, 0, 6},
		{"finish", 1, 0, 7}, {"session", 1, 0, 8}, {"ticker", 1, 0, 9},
		{"emit", 1, 0, 10}, {"shape", 1, 0, 11}, {"payloads", 1, 0, 12},
		{"reconnect", 0, 0, 13}, {"receive-count", 1, 0, 14},
		{0, 0, 0, 0}
	};
	int			c;
	int			n;
	Worker	   *ws;
	pthread_t	ticker;

	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1)
	{
		switch (c)
		{
			case 'd': conninfo = optarg; break;
			case 'q': queue_base = optarg; break;
			case 'S': shards = atoi(optarg); break;
			case 'p': n_producers = atoi(optarg); break;
			case 'c': n_consumers = atoi(optarg); break;
			case 'b': send_batch = atoi(optarg); break;
			case 'B': receive_batch = atoi(optarg); break;
			case 'r': rate = atof(optarg); break;
			case 'n': count = atoll(optarg); break;
			case 't': duration = atof(optarg); break;
			case 'g': drain_grace = atof(optarg); break;
			case 'D': drain = true; break;
			case 'j': json_batch = true; break;
			case 'e': want_e2e = true; break;
			case 'P': poll_ms = atoi(optarg); break;
			case 'L': listen_channel = optarg; break;
			case 'T': ticker_ms = atoi(optarg); break;
			case 1: sql_send = optarg; break;
			case 2: sql_after_send = optarg; break;
			case 3: sql_receive = optarg; break;
			case 4: sql_ack = optarg; break;
			case 5: sql_open = optarg; break;
			case 6: sql_events = optarg; break;
			case 7: sql_finish = optarg; break;
			case 8: sql_session = optarg; break;
			case 9: sql_ticker = optarg; break;
			case 10:
				{
					/* just print events, one a line, for COPY */
					Worker		w = {.rng = 88172645463325252u};
					char		buf[2048];

					for (int64_t k = atoll(optarg); k > 0; k--)
					{
						build_event(buf, &w);
						puts(buf);
					}
					return 0;
				}
			case 11:
				if (strcmp(optarg, "envelope") == 0)
					shape = SHAPE_ENVELOPE;
				else if (strcmp(optarg, "entry") == 0)
					shape = SHAPE_ENTRY;
				else if (strcmp(optarg, "detail") == 0)
					shape = SHAPE_DETAIL;
				else
				{
					fprintf(stderr, "qdrive: unknown shape %s\n", optarg);
					return 2;
				}
				break;
			case 12: read_payloads(optarg); break;
			case 13: reconnect = true; break;
			case 14: receive_count = atoll(optarg); break;
			default: return 2;
		}
	}
	if ((n_producers > 0 && !sql_send) ||
		(n_consumers > 0 && !sql_receive && !(sql_open && sql_events && sql_finish)))
	{
		fprintf(stderr, "qdrive: a statement is missing for the clients asked for\n");
		return 2;
	}

	n = n_producers + n_consumers;
	ws = calloc(n > 0 ? n : 1, sizeof(Worker));
	pthread_barrier_init(&barrier, NULL, n + 1);
	for (int i = 0; i < n; i++)
	{
		Worker	   *w = &ws[i];

		w->producer = i < n_producers;
		w->idx = w->producer ? i : i - n_producers;
		w->next_payload = (unsigned) i * 37;
		w->rng = (uint64_t) now_us() * 2654435761u + (uint64_t) (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
		w->conn = connect_or_die();
		pthread_create(&w->thread, NULL, w->producer ? producer_main : consumer_main, w);
	}
	if (sql_ticker)
		pthread_create(&ticker, NULL, ticker_main, NULL);

	pthread_barrier_wait(&barrier);		/* everybody is connected and prepared */
	t_start_us = now_us();
	t_end_us = t_start_us + (int64_t) (duration * 1e6);
	t_end_consume_us = t_end_us + (int64_t) (drain_grace * 1e6);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < n; i++)
		pthread_join(ws[i].thread, NULL);
	if (sql_ticker)
	{
		ticker_stop = true;
		pthread_join(ticker, NULL);
	}

	printf("{\"seconds\":%.3f,\"ticks\":%" PRId64, (now_us() - t_start_us) / 1e6, ticker_calls);
	if (n_producers > 0)
		print_role("produce", ws, n, true);
	if (n_consumers > 0)
		print_role("consume", ws, n, false);
	printf("}\n");
	for (int i = 0; i < n; i++)
		PQfinish(ws[i].conn);
	return 0;
}
