import { type Database, migrate, openDatabase } from "@pixl/core/database";
import { newEmbedded } from "./embedded.ts";
import { freshDatabase, sharedPostgres } from "./postgres.ts";
import { isAvailable, testWith } from "./programs.ts";

/** A kind of database that the tests of a file run on. */
export interface Engine {
  /** Stands in the tests' names. */
  readonly name: string;
  /** Registers a test that needs it. */
  readonly test: (name: string, run: () => Promise<void>) => void;
  /** The file's database, migrated, closed after the file's tests. Tests keep apart by names. */
  database(): Promise<Database>;
  /** Opens an empty database. */
  empty(stack: AsyncDisposableStack): Promise<Database>;
}

/** Registers a test that has the embedded database open. */
export function embeddedTest(name: string, run: () => Promise<void>): void {
  // PGlite sets a timer of its own (statistics, every 10 s) in whichever test runs then, and the first test opens the folder's lock for all: both sanitizers
  // would blame a test for these. The same tests run on a server with the sanitizers on.
  Deno.test({ name, fn: run, sanitizeOps: false, sanitizeResources: false });
}

/** Registers a file's tests on a PostgreSQL server and then on the embedded database. */
export function onEachEngine(register: (engine: Engine) => void): void {
  const server = engine({
    name: "PostgreSQL",
    test: (name, run) => testWith("postgresql", name, run),
    async empty(stack) {
      const server = stack.use(await sharedPostgres());
      return stack.use(await openDatabase(stack.use(await freshDatabase(server))));
    },
  });
  // Outside of the tests, so that none is blamed for what stays open.
  Deno.test.beforeAll(async () => {
    if (isAvailable("postgresql")) await server.database();
  });
  register(server);
  register(engine({
    name: "embedded",
    test: embeddedTest,
    async empty(stack) {
      const dir = await Deno.makeTempDir({ prefix: "pixl-embedded-" });
      stack.defer(() => Deno.remove(dir, { recursive: true }));
      return stack.use(await openDatabase({ kind: "embedded", dir: await newEmbedded(dir) }));
    },
  }));
}

function engine(kind: Omit<Engine, "database">): Engine {
  const stack = new AsyncDisposableStack();
  let shared: Promise<Database> | undefined;
  const open = async () => {
    const database = await kind.empty(stack);
    await migrate(database);
    return database;
  };
  Deno.test.afterAll(() => stack.disposeAsync());
  return { ...kind, database: () => shared ??= open() };
}
