// Hex strings at our edge, bytea in the database.
import { getAddress, type Address, type Hex } from "viem";

export const toBytes = (hex: Hex): Buffer => Buffer.from(hex.slice(2), "hex");
export const toHex = (bytes: Buffer): Hex => `0x${bytes.toString("hex")}`;
export const toAddress = (bytes: Buffer): Address => getAddress(toHex(bytes));
