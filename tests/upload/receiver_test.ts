import { ftpsConformance } from "./ftps_conformance.ts";
import { startReceiver } from "../support/receiver.ts";

ftpsConformance("our receiver", [], startReceiver, { sent: "sha256", found: "sha256", hasPermissions: false });
