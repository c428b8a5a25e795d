import { destinationConformance } from "./destination_conformance.ts";
import { FolderBench } from "./workbench.ts";

destinationConformance("DirectoryDestination", [], () => FolderBench.make(), { sent: "retrieved", found: "retrieved" });
