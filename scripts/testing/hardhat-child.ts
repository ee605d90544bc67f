// Runs one of Hardhat's own test tasks, or the compiler for them, and reports the counts that the task returns.
import hre from "hardhat";
import { ensureCompiled } from "../local/compiled.ts";
import { endWithRunner, finish } from "./report.ts";

type Summary = { passed: number; failed: number; failureOutput?: string };

endWithRunner();
const [kind, ...testFiles] = process.argv.slice(2);
if (kind === "compile") {
  // For everybody who comes later: contracts and Solidity tests now, so that no two processes compile at once.
  await ensureCompiled();
  await hre.tasks.getTask("build").run({ quiet: true });
  finish({ passed: 1, failed: 0 });
} else {
  // The Solidity task counts only when told that somebody adds up several tasks; it then leaves printing the failures to them.
  const counting = kind === "solidity" ? { testSummaryIndex: 1 } : {};
  const result = (await hre.tasks.getTask(["test", kind!]).run({ testFiles, noCompile: true, ...counting })) as { value?: { summary: Summary }; error?: { summary: Summary } };
  const summary = (result.value ?? result.error)?.summary;
  if (summary === undefined) throw new Error(`the task returned no summary: ${JSON.stringify(result).slice(0, 500)}`);
  if (kind === "solidity" && summary.failed > 0) process.stdout.write(`\n  ${summary.failed} failing\n${summary.failureOutput ?? ""}\n`);
  finish({ passed: summary.passed, failed: summary.failed });
}
