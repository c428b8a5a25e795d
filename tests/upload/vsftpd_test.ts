import { startVsftpd } from "../support/vsftpd.ts";
import { destinationConformance } from "./destination_conformance.ts";

destinationConformance("vsftpd", ["vsftpd"], startVsftpd, { sent: "size", found: "retrieved", hasPermissions: true });
