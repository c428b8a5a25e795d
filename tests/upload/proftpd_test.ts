import { startProftpd } from "../support/proftpd.ts";
import { destinationConformance } from "./destination_conformance.ts";

destinationConformance("proftpd", ["proftpd"], startProftpd, { sent: "sha256", found: "sha256", hasPermissions: true });
