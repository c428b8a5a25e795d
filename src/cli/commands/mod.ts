import type { AnyCommand } from "../command.ts";
import { checkCommand } from "./check.ts";
import { consumeCommand } from "./consume.ts";
import { deadCommand } from "./dead.ts";
import { demoCommand } from "./demo.ts";
import { doctorCommand } from "./doctor.ts";
import { drainCommand } from "./drain.ts";
import { exportCommand } from "./export.ts";
import { historyCommand } from "./history.ts";
import { migrateCommand } from "./migrate.ts";
import { populateCommand } from "./populate.ts";
import { purgeCommand } from "./purge.ts";
import { rateCommand } from "./rate.ts";
import { reportCommand } from "./report.ts";
import { restoreCommand } from "./restore.ts";
import { retryCommand } from "./retry.ts";
import { statusCommand } from "./status.ts";
import { uploadCommand } from "./upload.ts";
import { verifyCommand } from "./verify.ts";

/** Every command, in the order in which a study goes through them. */
export const COMMANDS: readonly AnyCommand[] = [
  migrateCommand,
  populateCommand,
  consumeCommand,
  exportCommand,
  verifyCommand,
  uploadCommand,
  checkCommand,
  statusCommand,
  historyCommand,
  reportCommand,
  retryCommand,
  deadCommand,
  drainCommand,
  restoreCommand,
  purgeCommand,
  rateCommand,
  doctorCommand,
  demoCommand,
];
