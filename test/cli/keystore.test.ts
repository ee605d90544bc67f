import { expect } from "chai";
import { Wallet, decryptKeystoreJson, encryptKeystoreJson } from "ethers";
import { createCipheriv, pbkdf2Sync, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesToHex, concat, hexToBytes, keccak256 } from "viem";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import { decryptKey, encryptKey, statedAddress } from "../../sdk/src/cli/keystore.ts";
import { tallystick } from "../support/cli.ts";

const PASSWORD = "pässwörd with ﬁ ligature";
const CHEAP = { n: 1_024, r: 8, p: 1 };

describe("tallystick keystore", function () {
  this.timeout(120_000);
  let folder = "";
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "tallystick-keystore-"))));
  after(() => rm(folder, { recursive: true, force: true }));
  const codeOf = (work: Promise<unknown>) => work.then(() => "none", (error: { code: string }) => error.code);

  it("ethers opens ours", async () => {
    const key = generatePrivateKey();
    const { privateKey, address } = await decryptKeystoreJson(JSON.stringify(await encryptKey(key, PASSWORD)), PASSWORD);
    expect([privateKey, address]).deep.equal([key, privateKeyToAddress(key)]);
  });

  it("ours opens ethers'", async () => {
    const wallet = Wallet.createRandom();
    const text = await encryptKeystoreJson({ address: wallet.address, privateKey: wallet.privateKey }, PASSWORD, { scrypt: { N: 1_024, r: 8, p: 1 } });
    expect(await decryptKey(text, PASSWORD)).equal(wallet.privateKey);
    expect(statedAddress(text)).equal(wallet.address.toLowerCase());
  });

  it("opens files with pbkdf2, and capital Crypto", async () => {
    const key = generatePrivateKey();
    const [salt, iv] = [randomBytes(32), randomBytes(16)];
    const derived = pbkdf2Sync("plain", salt, 2_000, 32, "sha256");
    const cipher = createCipheriv("aes-128-ctr", derived.subarray(0, 16), iv);
    const ciphertext = Buffer.concat([cipher.update(hexToBytes(key)), cipher.final()]);
    const mac = keccak256(concat([derived.subarray(16, 32), ciphertext])).slice(2);
    const kdfparams = { dklen: 32, c: 2_000, prf: "hmac-sha256", salt: salt.toString("hex") };
    const file = { version: 3, id: "x", Crypto: { cipher: "aes-128-ctr", cipherparams: { iv: iv.toString("hex") }, ciphertext: ciphertext.toString("hex"), kdf: "pbkdf2", kdfparams, mac } };
    expect(await decryptKey(JSON.stringify(file), "plain")).equal(key);
  });

  it("a wrong passphrase, a changed ciphertext and another's address are told apart", async () => {
    const keystore = await encryptKey(generatePrivateKey(), PASSWORD, CHEAP);
    expect(await codeOf(decryptKey(JSON.stringify(keystore), `${PASSWORD}.`))).equal("keystore_password_wrong");
    const changed = { ...keystore, crypto: { ...keystore.crypto, ciphertext: bytesToHex(randomBytes(32)).slice(2) } };
    expect(await codeOf(decryptKey(JSON.stringify(changed), PASSWORD))).equal("keystore_password_wrong");
    expect(await codeOf(decryptKey(JSON.stringify({ ...keystore, address: "00".repeat(20) }), PASSWORD))).equal("keystore_invalid");
  });

  const HOSTILE: [string, (file: Record<string, any>) => unknown][] = [
    ["scrypt parameters that take all memory", (file) => Object.assign(file["crypto"].kdfparams, { n: 2 ** 30 })],
    ["scrypt parameters that take for ever", (file) => Object.assign(file["crypto"].kdfparams, { p: 1_000_000 })],
    ["another cipher", (file) => (file["crypto"].cipher = "aes-256-cbc")],
    ["another version", (file) => (file["version"] = 1)],
    ["a short key", (file) => (file["crypto"].ciphertext = "00")],
    ["no parameters", (file) => delete file["crypto"].kdfparams],
    ["a mac that is none", (file) => (file["crypto"].mac = 7)],
  ];
  for (const [what, spoil] of HOSTILE) {
    it(`a file with ${what} is refused at once`, async () => {
      const file = structuredClone(await encryptKey(generatePrivateKey(), PASSWORD, CHEAP)) as unknown as Record<string, any>;
      spoil(file);
      expect(await codeOf(decryptKey(JSON.stringify(file), PASSWORD))).equal("keystore_invalid");
    });
  }

  it("create, show and use: the file is its owner's only, and is never overwritten", async () => {
    const path = join(folder, "deep", "agent.json");
    const env = { TALLYSTICK_KEYSTORE_PASSWORD: PASSWORD };
    const made = await tallystick(["keystore", "create", "--out", path, "--json"], { env });
    expect(made.code).equal(0);
    expect((await stat(path)).mode & 0o777).equal(0o600);
    const text = await readFile(path, "utf8");
    const again = await tallystick(["keystore", "create", "--out", path, "--json"], { env });
    expect([again.code, again.json["error"].code]).deep.equal([2, "keystore_exists"]);
    expect(await readFile(path, "utf8")).equal(text);
    const shown = await tallystick(["keystore", "show", "--json"], { env: { ...env, TALLYSTICK_KEYSTORE: path } });
    expect(shown.json).deep.equal({ path, address: made.json["address"], checked: true });
    const unchecked = await tallystick(["keystore", "show", path, "--json"]);
    expect(unchecked.json).deep.equal({ path, address: made.json["address"], checked: false });
  });

  it("imports a key from stdin and from the environment; the key is in no output", async () => {
    const key = generatePrivateKey();
    const env = { TALLYSTICK_KEYSTORE_PASSWORD: PASSWORD };
    for (const [name, options] of [["stdin", { env, stdin: `${key}\n` }], ["environment", { env: { ...env, TALLYSTICK_PRIVATE_KEY: key } }]] as const) {
      const path = join(folder, `${name}.json`);
      const ran = await tallystick(["keystore", "import", "--out", path, "--json"], options);
      expect([ran.code, ran.json["address"]]).deep.equal([0, privateKeyToAddress(key)]);
      expect(ran.stdout + ran.stderr).not.include(key.slice(2));
      expect(await decryptKey(await readFile(path, "utf8"), PASSWORD)).equal(key);
    }
  });

  it("without a terminal and a passphrase it says so and writes nothing", async () => {
    const path = join(folder, "locked.json");
    const ran = await tallystick(["keystore", "create", "--out", path, "--json"]);
    expect([ran.code, ran.json["error"].code]).deep.equal([2, "keystore_locked"]);
    const short = await tallystick(["keystore", "create", "--out", path, "--json"], { env: { TALLYSTICK_KEYSTORE_PASSWORD: "short" } });
    expect([short.code, short.json["error"].code]).deep.equal([2, "passphrase_short"]);
    expect(await stat(path).catch(() => undefined)).equal(undefined);
  });

  it("a file that is no keystore is named, its content is not", async () => {
    const path = join(folder, "notes.txt");
    await writeFile(path, "my secret notes");
    const ran = await tallystick(["keystore", "show", path, "--json"]);
    expect([ran.code, ran.json["error"].code]).deep.equal([2, "keystore_invalid"]);
    expect(ran.stdout).not.include("secret notes");
  });
});
