// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

/// @notice SessionChannels as tests call it: its interface and OpenZeppelin's multicall.
interface ChannelsApi is ISessionChannels {
    function multicall(bytes[] calldata data) external returns (bytes[] memory results);
}
