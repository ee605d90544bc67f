// `npm run -s package`: builds the SDK as it is published and packs it; prints where the tarball is.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPackage, packTarball } from "./packaging/build.ts";

const out = fileURLToPath(new URL("../.local/package/", import.meta.url));
const { name, version } = buildPackage(join(out, "sdk"));
process.stdout.write(`${name} ${version}: ${packTarball(join(out, "sdk"), out)}\n`);
