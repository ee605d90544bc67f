// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IJobOutcomes} from "../interfaces/IJobOutcomes.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

/// @notice An identity registry that does as it is told: owners change between two calls, answers are wrong, or it calls back.
contract ScriptedIdentities {
    enum Mode {
        Honest,
        Reverts,
        AnswersShort,
        AnswersDirty,
        BurnsGas,
        Reenters
    }

    Mode public mode;
    address public hookTarget;
    bytes public hookData;
    mapping(uint256 => address) private _owners;
    mapping(uint256 => address) private _wallets;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function setHook(address target, bytes calldata data) external {
        (mode, hookTarget, hookData) = (Mode.Reenters, target, data);
    }

    function setOwner(uint256 agentId, address owner) external {
        _owners[agentId] = owner;
    }

    function setWallet(uint256 agentId, address wallet) external {
        _wallets[agentId] = wallet;
    }

    /// @dev Not a view: it tries to write, and to call back, as nothing stops a hostile registry from doing.
    function ownerOf(uint256 agentId) external returns (address owner) {
        owner = _answer(_owners[agentId]);
        require(owner != address(0), "no such agent");
    }

    function getAgentWallet(uint256 agentId) external returns (address) {
        return _answer(_wallets[agentId]);
    }

    function _answer(address account) private returns (address) {
        if (mode == Mode.Reverts) revert("identities: no");
        if (mode == Mode.AnswersShort) {
            assembly {
                mstore(0, account)
                return(12, 20)
            }
        }
        if (mode == Mode.AnswersDirty) {
            assembly {
                mstore(0, or(account, shl(160, 1)))
                return(0, 32)
            }
        }
        if (mode == Mode.BurnsGas) {
            assembly {
                invalid()
            }
        }
        if (mode == Mode.Reenters) {
            (bool ok,) = hookTarget.call(hookData);
            require(ok, "identities: hook refused");
        }
        return account;
    }
}

/// @notice A reputation registry that reverts, burns gas, bombs, or calls back.
contract ScriptedReputation {
    enum Mode {
        Takes,
        Reverts,
        BurnsGas,
        ReturnBomb,
        Reenters
    }

    Mode public mode;
    address public hookTarget;
    bytes public hookData;
    bool public hookOk;
    uint256 public count;
    int128 public lastValue;
    uint256 public lastAgent;
    string public lastTag;
    bytes32 public lastHash;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function setHook(address target, bytes calldata data) external {
        (mode, hookTarget, hookData) = (Mode.Reenters, target, data);
    }

    function giveFeedback(
        uint256 agentId,
        int128 value,
        uint8,
        string memory tag1,
        string memory,
        string memory,
        string memory,
        bytes32 feedbackHash
    ) external {
        if (mode == Mode.Reverts) revert("reputation: no");
        if (mode == Mode.BurnsGas) {
            assembly {
                invalid()
            }
        }
        if (mode == Mode.ReturnBomb) {
            assembly {
                revert(0, 100000)
            }
        }
        if (mode == Mode.Reenters) (hookOk,) = hookTarget.call(hookData);
        count++;
        (lastAgent, lastValue, lastTag, lastHash) = (agentId, value, tag1, feedbackHash);
    }
}

/// @notice An escrow of jobs that ended as a test says.
contract ScriptedJobs is IJobOutcomes {
    struct Job {
        address client;
        address provider;
        address token;
        uint128 paid;
        bool terminal;
    }

    mapping(uint256 => Job) private _jobs;

    function set(uint256 jobId, Job calldata job) external {
        _jobs[jobId] = job;
    }

    function jobOutcome(uint256 jobId) external view returns (address, address, address, uint128, bool) {
        Job storage j = _jobs[jobId];
        return (j.client, j.provider, j.token, j.paid, j.terminal);
    }
}

/// @notice A contract that says of every channel that everything was claimed.
contract LyingChannels {
    function channels(bytes32) external pure returns (uint128, uint128) {
        return (type(uint128).max, type(uint128).max);
    }

    function getChannelId(ISessionChannels.ChannelConfig calldata) external pure returns (bytes32) {
        return bytes32(uint256(1));
    }
}
