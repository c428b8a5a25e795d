import { serveFtps, type WorkerScope } from "./ftps_worker.ts";

// The module of a worker: `self` is its scope, for which the compiler has no types beside those of the main thread.
serveFtps(self as unknown as WorkerScope);
