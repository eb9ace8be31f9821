# pg_eventbus: an event bus inside PostgreSQL.  `make`, `make install`,
# `make installcheck`; PG_CONFIG=... chooses the server to build for.
EXTENSION = pg_eventbus
MODULE_big = $(EXTENSION)
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
PG_CPPFLAGS = -I$(srcdir)/src -DEB_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wextra -Wno-unused-parameter -Wno-missing-field-initializers

# Calls within the library, and from it to the server, without a detour over the
# PLT: a put comes out of a wait with cold caches, and pays for every line it touches.
ifeq ($(shell uname -s),Linux)
PG_CFLAGS += -fno-semantic-interposition -fno-plt
SHLIB_LINK += -Wl,-Bsymbolic
endif

# The install script is the parts below in load order.
SQL_PARTS = $(addprefix src/sql/,head.sql types.sql tables.sql pattern.sql log.sql bus.sql queue.sql once.sql archive.sql stream.sql worker.sql observe.sql grants.sql)
DATA_built = build/$(EXTENSION)--$(EXTVERSION).sql
DATA = $(wildcard src/sql/upgrade/*--*--*.sql)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=$(EXTENSION)
EXTRA_CLEAN = build dest $(wildcard src/*.gc?? src/*/*.gc??)

# Header dependencies are off in Debian's build; no comment may follow on that line.
override autodepend = yes
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

all: $(DATA_built)

$(DATA_built): $(SQL_PARTS) $(EXTENSION).control Makefile
	mkdir -p $(@D) && cat $(SQL_PARTS) > $@

print-%: ; @echo $($*)
