import { expect } from "chai";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { generateMnemonic, english, generatePrivateKey } from "viem/accounts";
import { optionsOf } from "../../sdk/src/cli/command.ts";
import { helpOf, markdown } from "../../sdk/src/cli/help.ts";
import { findCommand } from "../../sdk/src/cli/parse.ts";
import { COMMANDS } from "../../sdk/src/cli/table.ts";
import { tallystick } from "../support/cli.ts";

describe("tallystick: help and usage", function () {
  this.timeout(120_000);

  it("lists every command, the environment and the exit codes", async () => {
    const { code, stdout, stderr } = await tallystick(["--help"]);
    expect([code, stderr]).deep.equal([0, ""]);
    for (const { path } of COMMANDS) expect(stdout).include(`  ${path}`);
    expect(stdout).include("TALLYSTICK_PRIVATE_KEY").include("Exit codes:");
  });

  it("without a command it is a mistake, and help all the same", async () => {
    const { code, stdout } = await tallystick([]);
    expect(code).equal(2);
    expect(stdout).include("Commands:");
  });

  for (const command of COMMANDS) {
    it(`${command.path} has help, with its options and examples`, () => {
      expect(findCommand(COMMANDS, [...command.path.split(" "), "--help"])?.command).equal(command);
      const help = helpOf(command);
      for (const option of Object.keys(optionsOf(command))) expect(help).include(`--${option}`);
      expect(help.split("Examples:")[1]).include(`tallystick ${command.path}`);
    });
  }

  for (const path of ["pay", "job hire", "up"]) {
    it(`${path} --help shows it`, async () => {
      const { command } = findCommand(COMMANDS, path.split(" "))!;
      const { code, stdout } = await tallystick([...path.split(" "), "--help"]);
      expect([code, stdout.trimEnd()]).deep.equal([0, helpOf(command).trimEnd()]);
    });
  }

  it("no line of help is wider than a terminal is likely to be", () => {
    expect(markdown(COMMANDS).split("\n").filter((line) => line.length > 140)).deep.equal([]);
  });

  it("docs/CLI.md is what the commands say", () => {
    const page = readFileSync(fileURLToPath(new URL("../../docs/CLI.md", import.meta.url)), "utf8");
    expect(page).equal(markdown(COMMANDS));
  });

  it("help --json is one JSON object", async () => {
    const { code, json } = await tallystick(["claim", "--help", "--json"]);
    expect([code, typeof json["help"]]).deep.equal([0, "string"]);
  });

  const MISTAKES: [string, string[]][] = [
    ["an unknown command", ["frob"]],
    ["half a command", ["channels"]],
    ["an unknown option", ["claim", "--frob", "x"]],
    ["a missing argument", ["claim"]],
    ["an argument too many", ["withdraw", "0x01", "0x02"]],
    ["no chain", ["withdraw"]],
    ["an endpoint that is none", ["withdraw", "--rpc", "ftp://127.0.0.1"]],
    ["a contract that is none", ["withdraw", "--rpc", "http://127.0.0.1:1", "--contract", "0x1"]],
    ["--account without --local", ["withdraw", "--account", "3"]],
  ];
  for (const [what, args] of MISTAKES) {
    it(`${what} is a usage error: code 2, nothing on stdout, and JSON when asked`, async () => {
      const said = await tallystick(args);
      expect([said.code, said.stdout]).deep.equal([2, ""]);
      expect(said.stderr).match(/^tallystick: .+/);
      const { code, json, stderr } = await tallystick([...args, "--json"]);
      expect([code, stderr]).deep.equal([2, ""]);
      expect(json["error"]).include.keys("code", "message", "retry");
    });
  }
});

describe("tallystick: keys are never arguments", function () {
  this.timeout(120_000);
  const key = generatePrivateKey();
  const mnemonic = generateMnemonic(english);
  const CASES: [string, string[], string][] = [
    ["a bare key", ["withdraw", key], key],
    ["a key without 0x where an id may stand", ["channels", "show", key.slice(2)], key.slice(2)],
    ["a key behind an unknown option", ["claim", "--private-key", key, "x"], key],
    ["a key glued to an option", ["claim", `--key=${key}`, "x"], key],
    ["a key in capitals", ["keystore", "import", key.slice(2).toUpperCase()], key.slice(2).toUpperCase()],
    ["a mnemonic", ["keystore", "import", mnemonic], mnemonic],
  ];
  for (const [what, args, secret] of CASES) {
    it(`refuses ${what} and does not repeat it`, async () => {
      // Where ids may stand, 0x and 64 digits are one, unless it is the key in use.
      const ran = await tallystick([...args, "--json"], { env: { TALLYSTICK_PRIVATE_KEY: key } });
      expect([ran.code, ran.json["error"].code]).deep.equal([2, "key_in_arguments"]);
      expect(ran.stdout + ran.stderr).not.include(secret);
    });
  }

  it("a key in the environment that is none is not repeated either", async () => {
    const wrong = `${key.slice(0, -2)}zz`;
    const ran = await tallystick(["channels", "list", "--discover", "--rpc", "http://127.0.0.1:1", "--json"], { env: { TALLYSTICK_PRIVATE_KEY: wrong } });
    expect(ran.code).not.equal(0);
    expect(ran.stdout + ran.stderr).not.include(wrong.slice(2));
  });

  it("zero is no key", async () => {
    const ran = await tallystick(["keystore", "import", "--json"], { env: { TALLYSTICK_PRIVATE_KEY: `0x${"0".repeat(64)}`, TALLYSTICK_KEYSTORE_PASSWORD: "long enough" } });
    expect([ran.code, ran.json["error"].code]).deep.equal([2, "key_invalid"]);
  });
});
