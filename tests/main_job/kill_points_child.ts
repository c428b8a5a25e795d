/**
 * Run by kill_points_test.ts: does the whole job on a site, and kills itself at one point of it.
 *
 * Arguments: the extract's folder, the image folder, the hospital's URL, and the point: `before` or `after`, a method, how often it was reached.
 */
import { readConfig } from "../../src/cli/config.ts";
import { openBroker, openLedger, openRate, openUpload } from "../../src/cli/open.ts";
import { OmopExtract } from "../../src/exports/mod.ts";
import { consumeQueues } from "../../src/pipeline/consume_queues.ts";
import { populate } from "../../src/pipeline/populate.ts";
import { httpStudyService } from "../../src/pipeline/study_service.ts";
import { uploadImages } from "../../src/pipeline/upload_images.ts";

const [extractDir = "", imageDir = "", url = "", point = ""] = Deno.args;

const reached = new Map<string, number>();

/** Dies here, if this is the point: nothing is flushed, nothing is closed. */
function reach(when: string, what: string): void {
  const times = (reached.get(`${when} ${what}`) ?? 0) + 1;
  reached.set(`${when} ${what}`, times);
  if (`${when} ${what} ${times}` === point) Deno.kill(Deno.pid, "SIGKILL");
}

/** The same object, whose methods pass the points before and after themselves. */
function watched<T extends object>(object: T): T {
  return new Proxy(object, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        reach("before", String(name));
        const result: unknown = value.apply(target, args);
        if (!(result instanceof Promise)) return result;
        return result.then((done: unknown) => {
          reach("after", String(name));
          return done;
        });
      };
    },
  });
}

const signal = new AbortController().signal;
const config = readConfig((name) => Deno.env.get(name), { database: true, broker: true, destination: true });
await using open = await openLedger(config, signal);
await using broker = await openBroker(config, open.database, signal);
const ledger = watched(open.ledger);
const watchedBroker = watched(broker);
await populate(await OmopExtract.open(extractDir), ledger, watchedBroker, new Map([["pacs", "image"]]));
const service = watched({ ask: httpStudyService(new URL(url)) });
await consumeQueues(
  ledger,
  watchedBroker,
  new Map([["pacs", { kind: "image", service: (message, context) => service.ask(message, context) }]]),
  { rateOf: (queue) => openRate(config, open.database, queue), owner: crypto.randomUUID(), untilEmpty: true },
);
await using destination = await openUpload(config, { connections: 1 }, open.ledger, signal);
await uploadImages(ledger, imageDir, watched(destination));
Deno.stdout.writeSync(new TextEncoder().encode("finished"));
