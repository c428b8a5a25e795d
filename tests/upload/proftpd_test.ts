import { startProftpd } from "../support/proftpd.ts";
import { ftpsConformance } from "./ftps_conformance.ts";

ftpsConformance("proftpd", ["proftpd"], startProftpd, { sent: "sha256", found: "sha256", hasPermissions: true });
