import type { FileToSend } from "../../src/pipeline/file_to_send.ts";
import {
  type Destination,
  type PutOptions,
  type Receipt,
  UploadError,
  type UploadErrorCode,
} from "../../src/upload/mod.ts";

type Put = (path: string, options: PutOptions) => Promise<void>;

/** A share that does something else before it takes a file. */
export function sharing(share: Destination, before: Put): Destination {
  return new Proxy(share, {
    get(target, name) {
      if (name === "stat") return target.stat.bind(target);
      if (name !== "put") return Reflect.get(target, name, target);
      return async (source: string, path: string, options: PutOptions): Promise<Receipt> => {
        await before(path, options);
        return await target.put(source, path, options);
      };
    },
  });
}

export function fails(code: UploadErrorCode): Promise<never> {
  return Promise.reject(new UploadError(code, "Cannot go on"));
}

/** Files of projects, `counts` of each. */
export function filesOf(source: string, base: string, counts: Readonly<Record<string, number>>): FileToSend[] {
  return Object.entries(counts).flatMap(([project, count]) =>
    Array.from({ length: count }, (_, at) => ({
      projectSlug: project,
      source,
      bytes: 1_000,
      path: `${base}-${project}/${at}`,
      record: () => Promise.resolve(),
    }))
  );
}
