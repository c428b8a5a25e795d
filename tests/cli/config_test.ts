import { assertEquals, assertThrows } from "@std/assert";
import { readConfig } from "../../src/cli/config.ts";
import { ConfigError } from "../../src/cli/errors.ts";
import { openSettings } from "../../src/cli/settings.ts";

const from = (settings: Record<string, string>) => (name: string) => settings[name];
const DATABASE = { PIXL_DB_HOST: "db", PIXL_DB_USER: "pixl", PIXL_DB_PASSWORD: "PWSEED" };

Deno.test("readConfig() reports every problem of the parts that are needed, at once", () => {
  const error = assertThrows(
    () => readConfig(from({ FTP_PORT: "99999", FTP_MODE: "plain" }), { database: true, destination: true }),
    ConfigError,
  );
  for (const name of ["PIXL_DB_HOST", "FTP_HOST", "FTP_PORT", "FTP_MODE", "FTP_USER_NAME", "FTP_USER_PASSWORD"]) {
    assertEquals(error.message.includes(name), true, name);
  }
});

Deno.test("readConfig() does not look at parts that are not needed", () => {
  assertEquals(readConfig(from({ FTP_PORT: "nonsense" }), {}).exportDir, "exports");
});

Deno.test("readConfig() takes the queues from the database where no broker is named", () => {
  assertEquals(readConfig(from({ PIXL_DATA_DIR: "data" }), { broker: true }).broker, { kind: "database" });
});

Deno.test("readConfig() refuses a server and an embedded database together", () => {
  assertThrows(
    () => readConfig(from({ ...DATABASE, PIXL_DATA_DIR: "data" }), { database: true }),
    ConfigError,
    "both set",
  );
});

Deno.test("readConfig() wants the whole path of a share", () => {
  const read = (dir: string) => readConfig(from({ PIXL_UPLOAD_DIR: dir }), { destination: true });
  assertThrows(() => read("./share"), ConfigError, "PIXL_UPLOAD_DIR must be an absolute path");
  assertEquals(read("/mnt/dsh").destination, { kind: "directory", dir: "/mnt/dsh" });
});

Deno.test("readConfig() refuses a share that is where exports or images come from", () => {
  const read = (dir: string) =>
    readConfig(from({ PIXL_UPLOAD_DIR: dir, PIXL_EXPORT_DIR: "/data/exports", PIXL_IMAGE_DIR: "/data/images" }), {
      destination: true,
    });
  for (const dir of ["/data/exports", "/data/images/dsh/"]) {
    assertThrows(() => read(dir), ConfigError, "nothing would leave this host");
  }
  assertEquals(read("/data/images-dsh").destination, { kind: "directory", dir: "/data/images-dsh" });
});

Deno.test("readConfig() reads a secret from the first line of a file", async () => {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "PWSEED of a file\nsecond line\n");
  try {
    const { PIXL_DB_PASSWORD: _, ...settings } = DATABASE;
    const { database } = readConfig(from({ ...settings, PIXL_DB_PASSWORD_FILE: file }), { database: true });
    assertEquals(database.kind === "postgres" && database.password, "PWSEED of a file");
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("readConfig() takes a secret as it stands, blanks included, and trims the rest", () => {
  const { database } = readConfig(from({ ...DATABASE, PIXL_DB_HOST: " db ", PIXL_DB_PASSWORD: " PWSEED " }), {
    database: true,
  });
  assertEquals(database.kind === "postgres" && [database.host, database.password], ["db", " PWSEED "]);
});

Deno.test("readConfig() names the file of a secret that is not there", () => {
  const settings = { ...DATABASE, PIXL_DB_PASSWORD: "", PIXL_DB_PASSWORD_FILE: "/nowhere/secret" };
  const read = (name: string) => (settings as Record<string, string>)[name] || undefined;
  assertThrows(() => readConfig(read, { database: true }), ConfigError, "'/nowhere/secret', which is not there");
});

Deno.test("readConfig() never quotes a secret", () => {
  const error = assertThrows(
    () => readConfig(from({ ...DATABASE, PIXL_DB_PORT: "x" }), { database: true }),
    ConfigError,
  );
  assertEquals(error.message.includes("PWSEED"), false);
});

Deno.test("openSettings() prefers the environment to the file, and an empty value is none", async () => {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "PIXL_RATE=1\nPIXL_IMAGE_DIR='a b'\nPIXL_EXPORT_DIR=\n");
  Deno.env.set("PIXL_RATE", "2");
  try {
    const read = openSettings(file);
    assertEquals([read("PIXL_RATE"), read("PIXL_IMAGE_DIR"), read("PIXL_EXPORT_DIR")], ["2", "a b", undefined]);
  } finally {
    Deno.env.delete("PIXL_RATE");
    await Deno.remove(file);
  }
});

Deno.test("openSettings() takes a file that is not there for empty", () => {
  assertEquals(openSettings("/nowhere/.env")("PIXL_NOT_SET_ANYWHERE"), undefined);
});

Deno.test("readConfig() takes quorum queues unless RABBITMQ_QUEUE_TYPE says classic", () => {
  const broker = { RABBITMQ_HOST: "mq", RABBITMQ_USERNAME: "pixl", RABBITMQ_PASSWORD: "PWSEED" };
  const typeOf = (more: Record<string, string>) => {
    const config = readConfig(from({ ...DATABASE, ...broker, ...more }), { broker: true }).broker;
    return config.kind === "rabbitmq" ? config.queueType : undefined;
  };
  assertEquals(typeOf({}), "quorum");
  assertEquals(typeOf({ RABBITMQ_QUEUE_TYPE: "classic" }), "classic");
  assertThrows(() => typeOf({ RABBITMQ_QUEUE_TYPE: "stream" }), ConfigError, "RABBITMQ_QUEUE_TYPE");
});
