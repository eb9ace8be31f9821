/*
 * consumer.c
 *	  A consumer in C on libpq: waits on its socket, receives in binary and in
 *	  text, settles arrays of receipts, looks at SQLSTATEs.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#define QUEUE "c_orders"

static int	count = 0;
static int	failed = 0;

static void
check(const char *name, bool good)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++count, name);
	failed += !good;
}

static PGconn *
connect_or_die(void)
{
	PGconn	   *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
	{
		printf("Bail out! %s", PQerrorMessage(conn));
		exit(1);
	}
	return conn;
}

static PGresult *
query(PGconn *conn, const char *sql, int n, const char *const *values, int format)
{
	PGresult   *r = PQexecParams(conn, sql, n, NULL, values, NULL, NULL, format);

	if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
		printf("# %s: %s", sql, PQerrorMessage(conn));
	return r;
}

static void
run(PGconn *conn, const char *sql)
{
	PQclear(query(conn, sql, 0, NULL, 0));
}

/* SQLSTATE of a statement that must fail. */
static bool
fails_with(PGconn *conn, const char *sql, const char *state)
{
	PGresult   *r = PQexec(conn, sql);
	const char *got = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *primary = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	bool		good = got && strcmp(got, state) == 0 && primary && primary[0] != '\0';

	if (!good)
		printf("# %s gave %s, wanted %s\n", sql, got ? got : "no error", state);
	PQclear(r);
	return good;
}

/* Wait for a notification on the connection's socket. */
static bool
notified(PGconn *conn, const char *payload)
{
	time_t		end = time(NULL) + 10;
	bool		got = false;

	while (!got && time(NULL) < end)
	{
		struct pollfd pfd = {PQsocket(conn), POLLIN, 0};
		PGnotify   *n;

		PQconsumeInput(conn);
		while ((n = PQnotifies(conn)) != NULL)
		{
			got = got || strcmp(n->extra, payload) == 0;
			PQfreemem(n);
		}
		if (!got)
			poll(&pfd, 1, 500);
	}
	return got;
}

/* Array literal of the receipts in column 0. */
static char *
receipts_of(PGresult *r)
{
	char	   *out = malloc(1024 + 256 * (size_t) PQntuples(r));
	char	   *o = out;

	*o++ = '{';
	for (int i = 0; i < PQntuples(r); i++)
		o += sprintf(o, "%s\"%s\"", i ? "," : "", PQgetvalue(r, i, 0));
	strcpy(o, "}");
	return out;
}

static int
count_status(PGconn *conn, const char *receipts, const char *status)
{
	const char *values[] = {receipts, status};
	PGresult   *r = query(conn, "select count(*) from eb.ack('" QUEUE "', $1::text[]) a where a.result = $2", 2, values, 0);
	int			n = PQntuples(r) == 1 ? atoi(PQgetvalue(r, 0, 0)) : -1;

	PQclear(r);
	return n;
}

int
main(void)
{
	PGconn	   *admin = connect_or_die();
	PGconn	   *conn = connect_or_die();
	PGresult   *r;
	char	   *receipts;
	int			n;

	run(admin, "select eb.create_queue('" QUEUE "')");
	run(admin, "select eb.put_rule('c', '{\"detail-type\": [\"Placed\"]}')");
	run(admin, "select eb.put_target('c', 'q', queue => '" QUEUE "')");

	run(conn, "listen eb_" QUEUE);
	r = query(conn, "select receipt from eb.receive('" QUEUE "', 10)", 0, NULL, 0);
	check("an empty queue gives no row", PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 0);
	PQclear(r);

	run(admin, "select eb.put_event('c.shop', 'Placed', jsonb_build_object('n', i)) from generate_series(1, 50) i");
	check("a put wakes the listener", notified(conn, QUEUE));

	/* binary: the detail's number, the count */
	r = query(conn, "select receipt, (body->'detail'->>'n')::int4, receive_count from eb.receive('" QUEUE "', 20)", 0, NULL, 1);
	check("20 messages in binary", PQntuples(r) == 20 && PQgetlength(r, 0, 1) == 4 &&
		  PQgetvalue(r, 0, 1)[3] == 1 && PQgetvalue(r, 19, 1)[3] == 20 && PQgetvalue(r, 0, 2)[3] == 1);
	receipts = receipts_of(r);
	PQclear(r);
	check("all 20 receipts are done", count_status(conn, receipts, "done") == 20);
	check("and none a second time", count_status(conn, receipts, "done") == 0);
	free(receipts);

	/* single-row mode, the rest in the program's own transaction */
	run(conn, "begin");
	n = 0;
	if (PQsendQuery(conn, "select body from eb.consume('" QUEUE "', 100)") && PQsetSingleRowMode(conn))
		while ((r = PQgetResult(conn)) != NULL)
		{
			n += PQresultStatus(r) == PGRES_SINGLE_TUPLE;
			PQclear(r);
		}
	check("the other 30 row by row", n == 30);
	run(conn, "rollback");
	r = query(conn, "select count(*) from eb.consume('" QUEUE "', 100)", 0, NULL, 0);
	check("which come again after a rollback", PQntuples(r) == 1 && atoi(PQgetvalue(r, 0, 0)) == 30);
	PQclear(r);

	check("unknown queue", fails_with(conn, "select * from eb.consume('nope', 1)", "42704"));
	check("queue name with a blank", fails_with(conn, "select eb.create_queue('two words')", "42602"));
	check("null queue", !fails_with(conn, "select * from eb.receive(null, 1)", "XX000"));
	check("negative number of messages", fails_with(conn, "select * from eb.receive('" QUEUE "', -1)", "22023"));
	check("negative timeout", fails_with(conn, "select * from eb.receive('" QUEUE "', 1, interval '-1 s')", "22023"));
	check("the connection goes on", PQtransactionStatus(conn) == PQTRANS_IDLE);

#ifdef LIBPQ_HAS_PIPELINING
	/* several puts in one round trip, one transaction each */
	PQenterPipelineMode(admin);
	for (int i = 0; i < 5; i++)
	{
		PQsendQueryParams(admin, "select eb.put_event('c.shop', 'Placed', '{}')", 0, NULL, NULL, NULL, NULL, 0);
		PQpipelineSync(admin);
	}
	for (n = 0; n < 5;)
	{
		r = PQgetResult(admin);
		n += r && PQresultStatus(r) == PGRES_PIPELINE_SYNC;
		if (r && PQresultStatus(r) == PGRES_FATAL_ERROR)
			break;
		PQclear(r);
	}
	PQexitPipelineMode(admin);
	r = query(conn, "select count(*) from eb.consume('" QUEUE "', 100)", 0, NULL, 0);
	check("puts in a pipeline", PQntuples(r) == 1 && atoi(PQgetvalue(r, 0, 0)) == 5);
	PQclear(r);
#endif

	PQfinish(conn);
	PQfinish(admin);
	printf("1..%d\n", count);
	return failed != 0;
}
