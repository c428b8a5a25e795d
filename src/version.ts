import config from "../deno.json" with { type: "json" };

/** The package's version, from its one place. */
export const VERSION: string = config.version;
