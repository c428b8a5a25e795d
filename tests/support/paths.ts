export { fromFileUrl };
import { fileURLToPath as fromFileUrl } from "node:url";

/** The checkout. */
export const ROOT = fromFileUrl(new URL("../../", import.meta.url));
