// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";

/// @notice An ERC-20 with ERC-3009's receiveWithAuthorization that can be told to misbehave in one way at a time.
contract ScriptedToken {
    enum Mode {
        Honest,
        /// Takes 1% of what is moved.
        FeeOnTransfer,
        /// Moves nothing and answers false.
        ReturnsFalse,
        /// Moves the tokens and answers nothing, like USDT.
        NoReturnData,
        /// Refuses the blacklisted account on either side, like USDC.
        Blacklists,
        /// Refuses everything.
        Paused,
        /// Uses up all gas it is given.
        BurnsGas,
        /// Calls `hook` in the middle of a transfer.
        Reenters,
        /// Answers a word that is not a bool.
        ReturnsGarbage,
        /// Moves one unit more than asked when it moves in.
        Overpays,
        /// Reverts with a megabyte of data.
        ReturnBomb,
        /// Moves the tokens and answers false, like Tether Gold.
        MovesAndReturnsFalse,
        /// Honest, but uses `weight` gas before it moves anything.
        Heavy
    }

    event Transfer(address indexed from, address indexed to, uint256 value);

    error Blacklisted(address account);
    error EnforcedPause();
    error NotAllowed();
    error AuthorizationExpired();
    error AuthorizationNotYetValid();
    error AuthorizationUsed();
    error CallerMustBeReceiver();
    error BadAuthorization();

    string public constant name = "Scripted";
    string public constant version = "2";
    uint8 public constant decimals = 6;

    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => mapping(bytes32 => bool)) public authorizationState;
    Mode public mode;
    address public blacklisted;
    address public hookTarget;
    bytes public hookData;
    bool public hookOk;
    bytes public hookResult;
    uint256 public hookCalls;
    uint256 public weight;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function setBlacklisted(address account) external {
        mode = Mode.Blacklists;
        blacklisted = account;
    }

    function setHook(address target, bytes calldata data) external {
        mode = Mode.Reenters;
        (hookTarget, hookData) = (target, data);
        (hookCalls, hookOk) = (0, false);
        delete hookResult;
    }

    function setWeight(uint256 gasUsed) external {
        mode = Mode.Heavy;
        weight = gasUsed;
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        require(allowed >= amount, NotAllowed());
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - amount;
        return _move(from, to, amount);
    }

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return Digests.domain(name, version, address(this));
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _receive(from, to, value, validAfter, validBefore, nonce, v, r, s);
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external {
        require(signature.length == 65, BadAuthorization());
        bytes32 r;
        bytes32 s;
        assembly {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
        }
        _receive(from, to, value, validAfter, validBefore, nonce, uint8(signature[64]), r, s);
    }

    function _receive(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) private {
        require(msg.sender == to, CallerMustBeReceiver());
        require(block.timestamp > validAfter, AuthorizationNotYetValid());
        require(block.timestamp < validBefore, AuthorizationExpired());
        require(!authorizationState[from][nonce], AuthorizationUsed());
        bytes32 digest = Digests.receiveWithAuthorization(
            DOMAIN_SEPARATOR(), from, to, value, validAfter, validBefore, nonce
        );
        address signer = ecrecover(digest, v, r, s);
        require(signer != address(0) && signer == from, BadAuthorization());
        authorizationState[from][nonce] = true;
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (mode == Mode.Paused) revert EnforcedPause();
        if (mode == Mode.ReturnsFalse) return false;
        if (mode == Mode.Blacklists) {
            require(from != blacklisted, Blacklisted(from));
            require(to != blacklisted, Blacklisted(to));
        }
        if (mode == Mode.BurnsGas) {
            assembly {
                invalid()
            }
        }
        if (mode == Mode.ReturnBomb) {
            assembly {
                revert(0, 1000000)
            }
        }
        if (mode == Mode.Reenters) {
            hookCalls++;
            (hookOk, hookResult) = hookTarget.call(hookData);
        }
        if (mode == Mode.Heavy) {
            uint256 start = gasleft();
            while (start - gasleft() < weight) {}
        }
        balanceOf[from] -= amount;
        uint256 arrives = amount;
        if (mode == Mode.FeeOnTransfer) arrives -= (amount + 99) / 100;
        if (mode == Mode.Overpays) arrives += 1;
        balanceOf[to] += arrives;
        emit Transfer(from, to, arrives);
        if (mode == Mode.NoReturnData) {
            assembly {
                return(0, 0)
            }
        }
        if (mode == Mode.ReturnsGarbage) {
            assembly {
                mstore(0, 2)
                return(0, 32)
            }
        }
        return mode != Mode.MovesAndReturnsFalse;
    }
}
