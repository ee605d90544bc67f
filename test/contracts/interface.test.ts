// The compiled contracts against the pinned, published interface: same selectors, topics, outputs and mutability.
import { readFileSync } from "node:fs";
import hre from "hardhat";
import { expect } from "chai";
import { Interface, type EventFragment, type FunctionFragment } from "ethers";

type Pinned = {
  functions: { signature: string; selector: string; stateMutability: string; returns: string[] }[];
  events: { signature: string; topic: string; inputs?: string[] }[];
  errors: { signature: string; selector: string }[];
};
const pinned = JSON.parse(readFileSync(new URL("./interface.json", import.meta.url), "utf8")) as {
  channels: Pinned;
  channelsAbi: object[];
  erc3009DepositCollector: Pinned;
};

describe("published interface", () => {
  describe("SessionChannels", () => contains("SessionChannels", pinned.channels));
  describe("ERC3009DepositCollector", () => contains("ERC3009DepositCollector", pinned.erc3009DepositCollector));

  it("names and types every parameter of SessionChannels as published", async () => {
    const [ours, published] = [await compiled("SessionChannels"), new Interface(pinned.channelsAbi as never)];
    for (const fragment of published.fragments) {
      if (fragment.type === "constructor") continue;
      const formats = ours.fragments.map((candidate) => candidate.format("full"));
      expect(formats).to.include(fragment.format("full"));
    }
  });

  it("adds only what ISessionChannels documents as additions", async () => {
    const [ours, published] = [await compiled("SessionChannels"), new Interface(pinned.channelsAbi as never)];
    const callable = (abi: Interface) => abi.fragments.filter((fragment) => fragment.type !== "constructor");
    const theirs = new Set(callable(published).map((fragment) => fragment.format("sighash")));
    const added = callable(ours).filter((fragment) => !theirs.has(fragment.format("sighash")));
    expect(added.map((fragment) => (fragment as FunctionFragment).name).sort()).to.deep.equal([
      "InsufficientGas",
      "MalformedPackedRow",
      "NotPayer",
      "PACKED_CLAIM_TYPEHASH",
      "PackedClaimed",
      "SettleFailed",
      "WITHDRAW_REQUEST_TYPEHASH",
      "WithdrawCancelled",
      "WithdrawRequestExpired",
      "WithdrawRequestUsed",
      "cancelWithdraw",
      "claimAndSettle",
      "claimPacked",
      "getPackedClaimDigest",
      "getWithdrawRequestDigest",
      "initiateWithdrawWithSignature",
      "isWithdrawRequestUsed",
    ]);
  });
});

/** One test a published function, event and error of that contract. */
function contains(name: string, published: Pinned): void {
  let abi: Interface;
  before(async () => {
    abi = await compiled(name);
  });

  for (const { signature, selector, stateMutability, returns } of published.functions) {
    it(`function ${signature}`, () => {
      const fragment = abi.getFunction(selector);
      expect(fragment?.format("sighash")).to.equal(signature);
      expect(fragment?.stateMutability).to.equal(stateMutability);
      const outputs = fragment?.outputs.map((output) => `${output.type} ${output.name}`.trim());
      expect(outputs).to.deep.equal(returns);
    });
  }
  for (const { signature, topic, inputs } of published.events) {
    it(`event ${signature}`, () => {
      const fragment = abi.getEvent(topic);
      expect(fragment?.format("sighash")).to.equal(signature);
      if (inputs !== undefined) expect(fragment === null ? [] : inputsOf(fragment)).to.deep.equal(inputs);
    });
  }
  for (const { signature, selector } of published.errors) {
    it(`error ${signature}`, () => {
      expect(abi.getError(selector)?.format("sighash")).to.equal(signature);
    });
  }
}

function inputsOf(event: EventFragment): string[] {
  return event.inputs.map(({ baseType, type, indexed, name }) => {
    return [baseType === "tuple" ? "tuple" : type, ...(indexed ? ["indexed"] : []), name].join(" ");
  });
}

async function compiled(name: string): Promise<Interface> {
  return new Interface((await hre.artifacts.readArtifact(name)).abi as never);
}
