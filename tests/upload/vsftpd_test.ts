import { startVsftpd } from "../support/vsftpd.ts";
import { ftpsConformance } from "./ftps_conformance.ts";

ftpsConformance("vsftpd", ["vsftpd"], startVsftpd, { sent: "size", found: "retrieved", hasPermissions: true });
