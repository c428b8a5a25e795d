import { destinationConformance } from "./destination_conformance.ts";
import { startReceiver } from "../support/receiver.ts";

destinationConformance("our receiver", [], startReceiver, { sent: "sha256", found: "sha256", hasPermissions: false });
